"""The inbox: what has arrived and is not yet read, across connections. In memory."""

import asyncio
from collections.abc import AsyncIterator

from mso.broker import Message


class Inbox(AsyncIterator[Message]):
    """An iterator and no generator: to give up waiting for it must not end it."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[Message | BaseException] = asyncio.Queue()

    def put(self, item: Message | BaseException) -> None:
        """A bug is raised where the messages are read, since somebody waits there for as long as we live."""
        self._queue.put_nowait(item)

    def clear(self) -> None:
        while not self._queue.empty():
            self._queue.get_nowait()

    async def __anext__(self) -> Message:
        item = await self._queue.get()
        if isinstance(item, BaseException):
            raise item
        return item
