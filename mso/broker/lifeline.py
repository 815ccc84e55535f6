"""A lifeline: a link that is replaced whenever it has ended, without end. Policy only; it knows nothing of MQTT.

- After a link that lasted, the next one is tried at once; else after exponential backoff with full jitter.
- What an operator must know is said once, aloud, with what to do about it: that the broker cannot be reached, and then
  at most once a minute; and that somebody else keeps taking the place of this client.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import structlog

LASTING_SECONDS = 5.0
KICKS_IN_A_ROW = 3
FIRST_RETRY_SECONDS = 0.1
LONGEST_RETRY_SECONDS = 10.0
REMIND_SECONDS = 60.0
GOODBYE_SECONDS = 1.0
HANG_UP_SECONDS = 0.5

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class End:
    """How a link ended."""

    reason: str
    advice: str = ""
    """What an operator can do about it."""
    lasted: float | None = None
    """Seconds for which it was up; None if it never was."""
    crash: BaseException | None = None
    """A bug, to be raised again where it ends the process."""


class Link(Protocol):
    """One connection: begins when it is made, ends once."""

    @property
    def up(self) -> asyncio.Future[bool]:
        """Done when the link serves, with whether the other side remembered us; cancelled if it ends before."""
        ...

    @property
    def ended(self) -> asyncio.Future[End]: ...

    def say_goodbye(self) -> None:
        """End it in good order, as soon as that can be done."""
        ...

    def abort(self) -> None:
        """End it."""
        ...


AnyLink = TypeVar("AnyLink", bound=Link)


class Lifeline(Generic[AnyLink]):
    """Keeps `link` alive while `run` runs; `context` goes into every log event.

    `may_open` returns when another link may be opened; what it raises ends `run`.
    """

    def __init__(
        self, open_link: Callable[[], AnyLink], may_open: Callable[[], Awaitable[None]], **context: object
    ) -> None:
        self._open_link = open_link
        self._may_open = may_open
        self._log = log.bind(**context)
        self._reminded: float | None = None
        self.link: AnyLink | None = None
        self.last_end: End | None = None

    async def run(self) -> None:
        """Endless. Raises only what is a bug, and what `may_open` raises."""
        attempt = failures = kicks = 0
        while True:
            attempt += 1
            await self._may_open()
            link = self.link = self._open_link()
            either: list[asyncio.Future[Any]] = [link.up, link.ended]
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if link.up.done() and not link.up.cancelled():
                self._log.info("broker.connected", session_present=link.up.result(), attempt=attempt)
                self._reminded = None
                attempt = 0
            end = await asyncio.shield(link.ended)  # to be cancelled here must not cancel the link's own future
            self.last_end = end
            if end.crash:
                raise end.crash
            self._report(end, attempt)
            if end.lasted is not None and end.lasted >= LASTING_SECONDS:
                failures = kicks = 0
                continue
            failures += 1
            kicks = 0 if end.lasted is None else kicks + 1
            if kicks == KICKS_IN_A_ROW:
                self._log.error(
                    "broker.kicked_out",
                    connections=kicks,
                    reason=f"each ended within {LASTING_SECONDS:.0f} s: somebody else seems to use the same client id",
                    advice="give every client its own MQTT_CLIENT_ID",
                )
            await asyncio.sleep(backoff(failures))

    async def close(self) -> None:
        """Say goodbye, and hang up; neither waits long for the other side."""
        if self.link is None:
            return
        self.link.say_goodbye()
        await asyncio.wait([self.link.ended], timeout=GOODBYE_SECONDS)
        self.link.abort()
        await asyncio.wait([self.link.ended], timeout=HANG_UP_SECONDS)

    def _report(self, end: End, attempt: int) -> None:
        if end.lasted is not None:
            self._log.warning("broker.disconnected", reason=end.reason, seconds=round(end.lasted, 1))
        elif self._reminded is None or time.monotonic() - self._reminded >= REMIND_SECONDS:
            self._reminded = time.monotonic()
            self._log.error("broker.unreachable", reason=end.reason, advice=end.advice, attempt=attempt)


def backoff(failures: int) -> float:
    """Seconds to wait after so many failures in a row: exponential, with full jitter, so that many clients spread."""
    doublings = min(failures - 1, 10)
    return random.uniform(0, min(LONGEST_RETRY_SECONDS, FIRST_RETRY_SECONDS * 2**doublings))
