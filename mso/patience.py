"""Patience: how long to wait before the next try. Pure but for its dice and its clock."""

import math
import random
import time
from collections.abc import Iterator

FIRST_SECONDS = 0.5
CAP_SECONDS = 30.0


def pauses(first: float = FIRST_SECONDS, cap: float = CAP_SECONDS, within: float = math.inf) -> Iterator[float]:
    """Seconds, until `within` of them are over: each about twice the one before, up to a cap, spread by jitter."""
    until = time.monotonic() + within
    pause = first
    while time.monotonic() < until:
        yield random.uniform(pause / 2, pause)
        pause = min(2 * pause, cap)
