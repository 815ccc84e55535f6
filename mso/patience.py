"""Patience: how long to wait before the next try. Pure but for its dice."""

import random
from collections.abc import Iterator

FIRST_SECONDS = 0.5
CAP_SECONDS = 30.0


def pauses() -> Iterator[float]:
    """Seconds, without end: each about twice the one before, up to a cap, with jitter so that tries spread."""
    pause = FIRST_SECONDS
    while True:
        yield random.uniform(pause / 2, pause)
        pause = min(2 * pause, CAP_SECONDS)
