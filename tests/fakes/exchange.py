"""An MQTT broker in memory, with sessions, and what clients see of it. Nothing moves before the test says so.

As Mosquitto does it: one packet is processed after the other, everything is saved with each of them, and a client that
comes back is sent first, and in order, what it did not acknowledge.
"""

import asyncio
import copy
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Self

from mso.broker import ConnectionLost, Message
from tests.fakes.connections import Connections

Memory = dict[str, "Session"]


@dataclass(eq=False)
class Stored:
    """A message in a session that was not acknowledged."""

    topic: str
    payload: bytes
    sent_before: bool = False


@dataclass
class Session:
    """What the broker keeps of one client."""

    filters: tuple[str, ...]
    stored: list[Stored] = field(default_factory=list)


class Link:
    """One connection: what each end has said and the other has not heard."""

    def __init__(self, client: "Client") -> None:
        self.client = client
        self.alive = True
        """As the client sees it."""
        self.served = True
        """As the broker sees it."""
        self.up: deque[Callable[[], None]] = deque()
        self.down: deque[Callable[[], None]] = deque()
        self.sent: list[Stored] = []
        self.unacknowledged: list[asyncio.Future[None]] = []

    @property
    def moves(self) -> list[deque[Callable[[], None]]]:
        """Where something can happen next, in either direction."""
        return [
            *([self.up] if self.served and self.up else []),
            *([self.down] if self.alive and self.down else []),
        ]


class Exchange:
    """The broker."""

    def __init__(self, *, window: int = 20, late: bool = False) -> None:
        """`window` messages may be sent to a client and not be acknowledged.

        `late`: what was sent before comes again only when the test says `send_again`.
        """
        self.memory: Memory = {}
        self.links: dict[str, Link] = {}
        self.saved: Memory = {}
        """What a Mosquitto has on disk: it saves on connections, and when it keeps anything for one who is away."""
        self.processed: list[tuple[str, bytes]] = []
        """Every PUBLISH that ever got through."""
        self._window = window
        self._late = late

    @property
    def moves(self) -> list[deque[Callable[[], None]]]:
        """Where something can happen next."""
        return [move for link in self.links.values() for move in link.moves]

    def stored(self, client_id: str) -> list[str]:
        """The topics of what it keeps for a client."""
        return [stored.topic for stored in self.memory[client_id].stored] if client_id in self.memory else []

    def remember(self) -> Memory:
        """What it would save now."""
        return copy.deepcopy(self.memory)

    def restart(self, memory: Memory | None = None) -> None:
        """Kill it, and start it with this memory; with that of its last moment, if none is given."""
        memory = self.remember() if memory is None else copy.deepcopy(memory)
        for link in list(self.links.values()):
            link.served = False
            link.client.lose()
        self.links.clear()
        self.memory, self.saved = memory, copy.deepcopy(memory)

    # -- one packet -----------------------------------------------------------------------------------------------

    def connect(self, link: Link) -> bool:
        """CONNECT to SUBACK, without a break; whether the session was there."""
        client = link.client
        if before := self.links.get(client.client_id):
            before.served = False
            before.client.lose(before)
        self.links[client.client_id] = link
        present = client.client_id in self.memory
        session = self.memory.setdefault(client.client_id, Session(()))
        session.filters = tuple(dict.fromkeys((*session.filters, *client.filters)))
        self._send(client.client_id)
        self.saved = self.remember()
        return present

    def publish(self, link: Link, topic: str, payload: bytes, future: "asyncio.Future[None]") -> None:
        self.processed.append((topic, payload))
        stored = []
        for client_id, session in self.memory.items():
            if any(_matches(topic_filter, topic) for topic_filter in session.filters):
                stored.append(Stored(topic, payload))
                session.stored.append(stored[-1])
                self._send(client_id)
        if not all(one.sent_before for one in stored):
            self.saved = self.remember()
        link.down.append(lambda: None if future.done() else future.set_result(None))

    def acknowledge(self, link: Link, stored: Stored) -> None:
        session = self.memory[link.client.client_id]
        link.sent.remove(stored)
        session.stored.remove(stored)
        self._send(link.client.client_id)

    def send_again(self, client_id: str) -> None:
        """The time is over that a broker which is late takes."""
        self._send(client_id, again=True)

    def _send(self, client_id: str, *, again: bool = False) -> None:
        link = self.links.get(client_id)
        if link is None:
            return
        for stored in self.memory[client_id].stored:
            if stored in link.sent or (self._late and stored.sent_before and not again):
                continue
            if len(link.sent) >= self._window:
                return
            link.sent.append(stored)
            link.down.append(partial(link.client.hear, link, stored, redelivered=stored.sent_before))
            stored.sent_before = True


class Client(Connections):
    """A broker as mso.broker has it, whose connections come and go as the test says."""

    def __init__(self, exchange: Exchange, client_id: str, filters: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.exchange = exchange
        self.client_id = client_id
        self.filters = filters
        self.acknowledged: list[str] = []
        """The topics of what was acknowledged, on whatever connection."""
        self.link: Link | None = None

    # -- the contract ---------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        if self.link is None:
            return
        while self.link.up:
            self.link.up.popleft()()
        del self.exchange.links[self.client_id]
        self.lose()

    def publish(self, topic: str, payload: bytes) -> "asyncio.Future[None]":
        if self.link is None:
            raise ConnectionLost("there is no connection")
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.link.unacknowledged.append(future)
        self.link.up.append(partial(self.exchange.publish, self.link, topic, payload, future))
        return future

    async def stop_intake(self) -> None:
        raise NotImplementedError

    # -- what a test does with it ---------------------------------------------------------------------------------

    def connect(self) -> None:
        link = Link(self)
        session_present = self.exchange.connect(link)
        self.link = link
        self._begin(session_present=session_present)

    def lose(self, link: Link | None = None) -> None:
        """The connection ends. What was said on it is heard yet, unless the broker ends it first, or is told to."""
        if self.link is None or (link and link is not self.link):
            return
        lost, self.link = self.link, None
        lost.alive = False
        lost.down.clear()
        self._end()
        for future in lost.unacknowledged:
            if not future.done():
                future.set_exception(ConnectionLost())

    def reset(self) -> None:
        """The connection ends, and nothing more of it gets through."""
        link = self.link
        self.lose()
        if link:
            link.up.clear()

    def hear(self, link: Link, stored: Stored, *, redelivered: bool) -> None:
        def acknowledge() -> None:
            self.acknowledged.append(stored.topic)
            if link.alive:
                link.up.append(partial(self.exchange.acknowledge, link, stored))

        self._inbox.put_nowait(
            Message(stored.topic, stored.payload, redelivered, False, acknowledge, alive=lambda: link.alive)
        )


def _matches(topic_filter: str, topic: str) -> bool:
    wanted, levels = topic_filter.split("/"), topic.split("/")
    return len(wanted) == len(levels) and all(want in ("+", level) for want, level in zip(wanted, levels, strict=True))
