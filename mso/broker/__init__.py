"""Who we talk to. A broker is a translator and a pipe between MQTT and `Message`; it never resends by itself.

- Messages come in order of arrival and are to be acknowledged in that order. An acknowledgement goes out on the
  connection that the message came on, or not at all: on a later connection the broker delivers it again.
- `publish` hands bytes to the present connection in the order of the calls. Its future is done on PUBACK, and fails
  with `ConnectionLost` when the connection ended first: the message may or may not have gone out, the caller decides.
  Any other error is the fault of this one message, which can never go.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Protocol, Self


class ConnectionLost(Exception):
    """The connection ended before the broker acknowledged: the message may or may not have gone out."""


@dataclass(frozen=True, slots=True)
class Message:
    """One PUBLISH as it arrived."""

    topic: str
    payload: bytes = field(repr=False)
    redelivered: bool
    """The DUP flag: the broker may have delivered this one before; if so, it has the packet identifier of then."""
    retained: bool
    acknowledge: Callable[[], None] = field(repr=False)
    """PUBACK; harmless when called on a connection that has ended, and for QoS 0."""
    packet: int = 0
    """Its packet identifier; 0 for QoS 0, which has none."""
    alive: Callable[[], bool] = field(default=lambda: True, repr=False)
    """Whether the connection that it came on has not ended. Of messages that are alive, all came on one connection."""


@dataclass(frozen=True, slots=True)
class Connection:
    """One CONNACK that was followed by SUBACK for every filter."""

    number: int
    """Counted from 1 in the life of this process."""
    session_present: bool
    """Whether the broker remembered us: False on a reconnection means that it lost its memory."""
    since: float = field(default_factory=time.monotonic, compare=False)


class Broker(Protocol):
    """Open it with `async with`: it connects, and reconnects without end, in the background."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *exc_info: object) -> None:
        """Say offline, DISCONNECT, and let go; bounded in time whatever the broker does."""
        ...

    @property
    def connection(self) -> Connection | None:
        """The present connection, None while there is none."""
        ...

    async def connected(self, after: int = 0) -> Connection:
        """Wait for a connection with a number higher than that; returns at once while there is one."""
        ...

    def messages(self) -> AsyncIterator[Message]:
        """Whatever arrives, of this connection and those after it; endless. One reader."""
        ...

    def publish(self, topic: str, payload: bytes) -> asyncio.Future[None]:
        """Hand over at QoS 1, not retained. Raises ConnectionLost when there is no connection (nothing went out)."""
        ...

    async def stop_intake(self) -> None:
        """Deliver no further message (shutdown): what was not acknowledged stays with the broker."""
        ...
