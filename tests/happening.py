"""Waiting in a test for what happens on the same event loop: it is told of, never polled."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager

PATIENCE_SECONDS = 10.0


class Happening:
    """`tell` after each thing that happens, and whoever waits in `until` looks again. One waiter at a time."""

    def __init__(self) -> None:
        self._told = asyncio.Event()

    def tell(self, *_: object) -> None:
        self._told.set()

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not condition():
                self._told.clear()
                await self._told.wait()


async def calm() -> None:
    """All has happened that can happen without time passing: fakes need no more turns of the loop than these."""
    for _ in range(100):
        await asyncio.sleep(0)


@asynccontextmanager
async def running(*loops: Coroutine[None, None, None]) -> AsyncIterator[None]:
    """The loops turn as long as the block does. An exception in one of them ends it, as it ends the service."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(loop) for loop in loops]
        yield
        for task in tasks:
            task.cancel()
