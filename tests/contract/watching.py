"""Reading a watch in a test: a whole listing, or on to the end of one attempt."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import cast

from mso.backplane import Backplane, Listed, Observation
from mso.model import Attempt, End

PATIENCE_SECONDS = 30.0


class Watching:
    """One watcher, and what it says."""

    def __init__(self, stream: AsyncIterator[Observation | Listed]) -> None:
        self._stream = stream

    async def listing(self) -> dict[Attempt, Observation]:
        """The next listing that begins after this was asked for: one that began before may be waiting to be heard."""
        asked = time.monotonic()
        said, listed = await self.raw_listing()
        while listed.began < asked:
            said, listed = await self.raw_listing()
        assert listed.present <= said.keys()
        return {attempt: said[attempt] for attempt in listed.present}

    async def raw_listing(self) -> tuple[dict[Attempt, Observation], Listed]:
        """All that is said up to the next Listed, and that."""
        said: dict[Attempt, Observation] = {}
        async with asyncio.timeout(PATIENCE_SECONDS):
            async for heard in self._stream:
                if isinstance(heard, Listed):
                    return said, heard
                said[heard.attempt] = heard
        raise AssertionError("the watch ended")

    async def end(self, attempt: Attempt) -> End:
        """How the attempt ends, as soon as it is said."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            async for heard in self._stream:
                if isinstance(heard, Observation) and heard.attempt == attempt and heard.end is not None:
                    return heard.end
        raise AssertionError("the watch ended")


@asynccontextmanager
async def watching(backplane: Backplane) -> AsyncIterator[Watching]:
    stream = cast("AsyncGenerator[Observation | Listed]", backplane.watch())
    async with aclosing(stream):
        yield Watching(stream)
