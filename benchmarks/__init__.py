"""Measurements, each a program: `python -m benchmarks.NAME --help`. Figures are published in docs/benchmarks.md."""
