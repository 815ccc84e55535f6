"""The broker's end of MQTT 3.1.1 by hand, for what no real broker can be made to do on demand."""

import asyncio
from typing import NamedTuple, Self

CONNECT, CONNACK, PUBLISH, PUBACK, SUBSCRIBE, SUBACK, PINGREQ, DISCONNECT = 1, 2, 3, 4, 8, 9, 12, 14


class Packet(NamedTuple):
    kind: int
    flags: int
    body: bytes

    @property
    def mid(self) -> int:
        """Of a PUBACK."""
        return int.from_bytes(self.body[:2], "big")


def packet(kind: int, body: bytes = b"", flags: int = 0) -> bytes:
    length, size = bytearray(), len(body)
    while True:
        size, digit = divmod(size, 128)
        length.append(digit | (0x80 if size else 0))
        if not size:
            return bytes([kind << 4 | flags]) + length + body


def publish(topic: bytes, payload: bytes, mid: int, *, redelivered: bool = False) -> bytes:
    body = len(topic).to_bytes(2, "big") + topic + mid.to_bytes(2, "big") + payload
    return packet(PUBLISH, body, flags=0b0010 | (0b1000 if redelivered else 0))


class Talk:
    """One connection that a client has opened."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def hear(self) -> Packet:
        first = (await self._reader.readexactly(1))[0]
        size = shift = 0
        while True:
            digit = (await self._reader.readexactly(1))[0]
            size |= (digit & 0x7F) << shift
            shift += 7
            if not digit & 0x80:
                return Packet(first >> 4, first & 0x0F, await self._reader.readexactly(size))

    async def hear_a(self, kind: int) -> Packet:
        """The next packet of a kind; whatever comes before it is let pass."""
        while (heard := await self.hear()).kind != kind:
            pass
        return heard

    async def say(self, *packets: bytes) -> None:
        self._writer.write(b"".join(packets))
        await self._writer.drain()

    async def welcome(self, *, session_present: bool = False) -> Packet:
        """CONNECT to SUBACK; returns the CONNECT."""
        connect = await self.hear_a(CONNECT)
        await self.say(packet(CONNACK, bytes([session_present, 0])))
        subscribe = await self.hear_a(SUBSCRIBE)
        await self.say(packet(SUBACK, subscribe.body[:2] + b"\x01"))
        return connect

    def hang_up(self) -> None:
        self._writer.transport.abort()


class ScriptedBroker:
    """Listens; what it says is up to the test."""

    host = "127.0.0.1"
    username = password = ""

    async def __aenter__(self) -> Self:
        self._talks: asyncio.Queue[Talk] = asyncio.Queue()
        self._all: list[Talk] = []
        self._server = await asyncio.start_server(self._accept, self.host, 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._server.close()
        for talk in self._all:
            talk.hang_up()
        await self._server.wait_closed()

    async def talk(self) -> Talk:
        """The next connection."""
        return await self._talks.get()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talk = Talk(reader, writer)
        self._all.append(talk)
        self._talks.put_nowait(talk)
