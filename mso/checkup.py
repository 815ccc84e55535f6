"""A checkup: what somebody who looks at one part of MSO's surroundings finds there, and what is to be done about it.

- A check looks and changes nothing that anybody would notice; what it cannot see it says it cannot see.
- It ends within its time, whatever hangs. One that fails keeps no other from its turn, but those that need it.
- Every edge has its checks beside it: mso/broker/checks.py, mso/ledger/checks.py, and each backplane its own.
"""

import asyncio
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

CALL_SECONDS = 5.0
"""For one look: an answer that takes longer is trouble enough."""


class Grade(StrEnum):
    """How bad it is."""

    OK = "ok"
    SKIPPED = "skipped"
    """It could not be looked at, and need not be."""
    WARNING = "warning"
    """It works, and is better mended."""
    WRONG = "wrong"
    """MSO cannot work like this, or not for long."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found."""

    check: str
    """What was looked at: a name that stays."""
    grade: Grade
    what: str
    advice: str = ""
    """What to do; empty where nothing is to be done."""


Checks = AsyncGenerator[Finding, None]
"""Findings, as they are made."""


def ok(check: str, what: str) -> Finding:
    return Finding(check, Grade.OK, what)


def skipped(check: str, what: str, advice: str = "") -> Finding:
    return Finding(check, Grade.SKIPPED, what, advice)


def warning(check: str, what: str, advice: str) -> Finding:
    return Finding(check, Grade.WARNING, what, advice)


def wrong(check: str, what: str, advice: str) -> Finding:
    return Finding(check, Grade.WRONG, what, advice)


async def timed(check: str, look: Awaitable[Finding], seconds: float = CALL_SECONDS, advice: str = "") -> Finding:
    """What a look finds, or that it found nothing in time."""
    try:
        async with asyncio.timeout(seconds):
            return await look
    except TimeoutError:
        return wrong(
            check, f"nothing for {seconds:g} s", advice or "see what hangs: the network, the disk, or a server"
        )


class Unawaited(ThreadPoolExecutor):
    """Threads that nobody waits for, not even the end of the process: a disk, or a resolver, may hang for ever.

    To be the default executor of whoever must be done in time: what checks give to `asyncio.to_thread` ends up here.
    """

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> "Future[T]":
        future: Future[T] = Future()

        def run() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                result = fn(*args, **kwargs)
            except Exception as error:  # noqa: BLE001 - raised again where it is awaited
                future.set_exception(error)
            else:
                future.set_result(result)

        threading.Thread(target=run, name="checkup", daemon=True).start()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """There is nothing to wait for."""
