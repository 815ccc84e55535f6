"""A broker in memory that keeps the contract of mso.broker. Whether it is there, and acknowledges, the test decides."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self

from mso.broker import ConnectionLost, Message
from tests.fakes.connections import Connections


@dataclass(eq=False)
class Sent:
    """One PUBLISH of ours."""

    topic: str
    payload: bytes
    connection: int
    future: "asyncio.Future[None]" = field(repr=False)

    @property
    def name(self) -> str:
        return self.topic.rsplit("/", 1)[1]


class FakeBroker(Connections):
    """Connected from the beginning, and acknowledges at once, unless it is told otherwise."""

    def __init__(self, *, connected: bool = True, acknowledges: bool = True) -> None:
        super().__init__()
        self.sent: list[Sent] = []
        self.acknowledges = acknowledges
        self.acknowledged: list[str] = []
        """The topics of the messages that MSO acknowledged, in order."""
        self.unsendable: set[str] = set()
        """Topics that are no topics."""
        self.heard: Callable[[], None] = lambda: None
        """Called when anything was published."""
        if connected:
            self.connect()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self.disconnect()

    # -- the contract -------------------------------------------------------------------------------------------------

    def publish(self, topic: str, payload: bytes) -> "asyncio.Future[None]":
        if self._connection is None:
            raise ConnectionLost("there is no connection")
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if topic in self.unsendable:
            future.set_exception(ValueError("no such topic"))
            return future
        self.sent.append(Sent(topic, payload, self._connection.number, future))
        if self.acknowledges:
            future.set_result(None)
        self.heard()
        return future

    async def stop_intake(self) -> None:
        self._inbox = asyncio.Queue()

    # -- what a test does with it -------------------------------------------------------------------------------------

    def connect(self, *, session_present: bool = True) -> None:
        self._begin(session_present=session_present)

    def disconnect(self) -> None:
        """What was not acknowledged may or may not have gone out."""
        self._end()
        for sent in self.sent:
            if not sent.future.done():
                sent.future.set_exception(ConnectionLost())

    def acknowledge(self, count: int | None = None) -> None:
        """PUBACK for the oldest that lack one; for all of them, and all that follow, if no count is given."""
        self.acknowledges = count is None
        for sent in [sent for sent in self.sent if not sent.future.done()][:count]:
            sent.future.set_result(None)

    def message(
        self, topic: str, payload: bytes = b"", *, redelivered: bool = False, retained: bool = False
    ) -> Message:
        """One as it would arrive."""
        return Message(topic, payload, redelivered, retained, lambda: self.acknowledged.append(topic))

    def deliver(self, topic: str, payload: bytes = b"") -> None:
        self._inbox.put_nowait(self.message(topic, payload))

    @property
    def names(self) -> list[str]:
        """What was published, in order: `a ModelHasTerminated` for what is about a model."""
        return [" ".join(sent.topic.split("/")[5:]) for sent in self.sent]
