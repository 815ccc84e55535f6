"""The half of the contract of mso.broker that is about connections and what arrives on them; for brokers in memory."""

import asyncio
from collections.abc import AsyncIterator

from mso.broker import Connection, Message


class Connections:
    """One after the other, as whoever inherits it says."""

    def __init__(self) -> None:
        self._connections = 0
        self._connection: Connection | None = None
        self._is_connected = asyncio.Event()
        self._inbox: asyncio.Queue[Message] = asyncio.Queue()

    @property
    def connection(self) -> Connection | None:
        return self._connection

    async def connected(self, after: int = 0) -> Connection:
        while self._connection is None or self._connection.number <= after:
            self._is_connected.clear()
            await self._is_connected.wait()
        return self._connection

    async def messages(self) -> AsyncIterator[Message]:
        while True:
            yield await self._inbox.get()

    def _begin(self, *, session_present: bool) -> None:
        self._connections += 1
        self._connection = Connection(self._connections, session_present)
        self._is_connected.set()

    def _end(self) -> None:
        self._connection = None
        self._is_connected.clear()
