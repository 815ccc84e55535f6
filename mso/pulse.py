"""The pulse: whether every loop still turns. One that waits for work is well; one that is long at a step is not."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

STALLED_AFTER_SECONDS = 60.0
"""Longer than any single step may take: every call of an edge has a shorter time-out of its own."""


class Pulse:
    """Steps that are under way, by loop; a loop may be at several at once."""

    def __init__(self) -> None:
        self._steps: dict[object, tuple[str, float]] = {}

    @contextmanager
    def step(self, loop: str) -> Iterator[None]:
        """One turn of a loop, from the moment there was work to do."""
        this = object()
        self._steps[this] = (loop, time.monotonic())
        try:
            yield
        finally:
            del self._steps[this]

    def stalled(self, limit: float = STALLED_AFTER_SECONDS) -> tuple[str, ...]:
        """The loops that have been at one step for longer than `limit` seconds, each once."""
        now = time.monotonic()
        return tuple(dict.fromkeys(loop for loop, since in self._steps.values() if now - since > limit))
