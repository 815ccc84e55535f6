"""Perseverance: what follows models gives nothing up. Trouble is waited out, said aloud, and told to whoever asks."""

import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from mso.backplane import BackplaneError
from mso.patience import persist

T = TypeVar("T")

PAUSE_CAP_SECONDS = 2.0
"""The longest pause before the source is tried again: once it is back, what ended is to be told soon (fault K1)."""
REMIND_SECONDS = 30.0


class Perseverance:
    """Of all that is done again and again about one kind of things.

    `things` are what is followed, in the words of an operator; `troubled` and `well_again` say it aloud.
    """

    def __init__(
        self,
        things: str,
        resync_seconds: float,
        *,
        troubled: Callable[[str], None],
        well_again: Callable[[], None],
    ) -> None:
        self._things = things
        self._resync_seconds = resync_seconds
        self._troubled = troubled
        self._well_again = well_again
        self._troubles: dict[str, str] = {}
        self._reminded = 0.0
        self._listed_at: float | None = None

    def troubles(self) -> tuple[str, ...]:
        """What keeps them from being followed, in words for an operator."""
        stale = None if self._listed_at is None else time.monotonic() - self._listed_at
        if stale is not None and stale > 2 * self._resync_seconds + 10:
            return (*self._troubles.values(), f"the last listing of {self._things} is {stale:.0f} s old")
        return tuple(self._troubles.values())

    @property
    def has_listed(self) -> bool:
        return self._listed_at is not None

    def listed(self) -> None:
        """A whole listing has just been taken in."""
        self._listed_at = time.monotonic()

    async def persist(self, what: str, act: Callable[[], Awaitable[T]]) -> T:
        """Do it until it is done; trouble is said aloud at once, and then from time to time."""

        def tell(error: BackplaneError, _: float) -> None:
            self.has_trouble(what, error)

        done = await persist(act, BackplaneError, tell, first=0.2, cap=PAUSE_CAP_SECONDS)
        self.is_well(what)
        return done

    def has_trouble(self, what: str, error: BackplaneError) -> None:
        trouble = f"cannot {what} {self._things}: {error}"
        now = time.monotonic()
        if what not in self._troubles or now - self._reminded > REMIND_SECONDS:
            self._reminded = now
            self._troubled(trouble)
        self._troubles[what] = trouble

    def is_well(self, what: str) -> None:
        if self._troubles.pop(what, None) and not self._troubles:
            self._well_again()
