"""A record whose entries are durable when the test says so."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

from mso.ledger import Entry


class FakeRecord:
    """What is written is durable at once, unless it is told to hold it back."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        """All that was written, durable or not."""
        self._holds = False
        self._waiting: deque[Callable[[], None]] = deque()

    # What Record promises.

    def write(self, entries: Sequence[Entry], then: Callable[[], None] | None = None) -> None:
        self.entries += entries
        if then:
            self._waiting.append(then)
        if not self._holds:
            self._act()

    async def written(self, *entries: Entry) -> None:
        durable = asyncio.Event()
        self.write(entries, durable.set)
        await durable.wait()

    # What the test does.

    def hold(self) -> None:
        """Nothing is durable any more."""
        self._holds = True

    def let_go(self) -> None:
        """All that was written is durable, and so is what will be."""
        self._holds = False
        self._act()

    def of(self, *kinds: type[Entry]) -> list[Entry]:
        return [entry for entry in self.entries if isinstance(entry, kinds)]

    def _act(self) -> None:
        while self._waiting:
            self._waiting.popleft()()
