"""Patience: how long to wait before the next try, and to try until it is done."""

import asyncio
import math
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar

E = TypeVar("E", bound=Exception)
T = TypeVar("T")

FIRST_SECONDS = 0.5
CAP_SECONDS = 30.0


def pauses(first: float = FIRST_SECONDS, cap: float = CAP_SECONDS, within: float = math.inf) -> Iterator[float]:
    """Seconds, until `within` of them are over: each about twice the one before, up to a cap, spread by jitter."""
    until = time.monotonic() + within
    pause = first
    while time.monotonic() < until:
        yield random.uniform(pause / 2, pause)
        pause = min(2 * pause, cap)


async def persist(
    act: Callable[[], Awaitable[T]],
    passing: type[E],
    tell: Callable[[E, float], None],
    *,
    first: float = FIRST_SECONDS,
    cap: float = CAP_SECONDS,
) -> T:
    """Do it until it is done. `tell` hears of every error that may pass, and in how many seconds the next try comes."""
    for pause in pauses(first, cap):
        try:
            return await act()
        except passing as error:
            tell(error, pause)
            await asyncio.sleep(pause)
    raise AssertionError("patience has no end")
