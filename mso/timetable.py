"""The timetable: what is to be done when. Pure; the time is whatever clock the caller reads."""

import heapq
from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Timetable(Generic[T]):
    """Entries by time. Nothing is ever taken off: who acts on an entry first looks whether it still holds."""

    def __init__(self) -> None:
        self._entries: list[tuple[float, int, T]] = []
        self._count = 0

    def add(self, when: float, entry: T) -> None:
        self._count += 1
        heapq.heappush(self._entries, (when, self._count, entry))

    @property
    def next(self) -> float | None:
        """When the earliest entry is due; None when there is none."""
        return self._entries[0][0] if self._entries else None

    def due(self, now: float) -> Iterator[T]:
        """Take off and yield what is due, the earliest first."""
        while self._entries and self._entries[0][0] <= now:
            yield heapq.heappop(self._entries)[2]
