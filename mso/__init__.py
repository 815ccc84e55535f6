"""The Model Services Orchestrator: deploys the models of a simulation and tells how each of them ended."""

__version__ = "0.1.0"
