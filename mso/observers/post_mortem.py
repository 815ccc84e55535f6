"""Post-mortem: the last lines of every attempt that failed, for the log and for the termination that waits for them."""

import asyncio
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager

import structlog

from mso.backplane import Backplane, BackplaneError
from mso.changes import Change, ModelChanged
from mso.model import Attempt, Failed, ModelKey, Retry, RunKey

log = structlog.get_logger()

LINES = 30
AT_ONCE = 16
"""Logs that are read at the same time."""
TERMINATION_WAITS_SECONDS = 2.0
"""docs/protocol.md, *Promises*."""
GIVE_UP_SECONDS = 15.0


class PostMortem:
    """Observer and loop. `release` lets a termination go; `examined` says that the attempt is not needed any more."""

    def __init__(
        self,
        backplane: Backplane,
        *,
        step: Callable[[str], AbstractContextManager[None]],
        release: Callable[[ModelKey, tuple[str, ...]], None],
        examined: Callable[[Attempt, Failed], None],
    ) -> None:
        self._backplane = backplane
        self._step = step
        self._release = release
        self._examined = examined
        self._queue: asyncio.Queue[tuple[Attempt, Failed, bool]] = asyncio.Queue()
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._open: Counter[RunKey] = Counter()
        self._settled = asyncio.Condition()

    def observe(self, change: Change) -> None:
        """Queue the attempt that failed, if this Change is a failure."""
        match change:
            case ModelChanged(before=before, event=Failed() as failed):
                self._enqueue(before.current, failed, final=True)
            case ModelChanged(before=before, event=Retry(cause=failed)):
                self._enqueue(before.current, failed, final=False)
            case _:
                pass

    def _enqueue(self, attempt: Attempt, failed: Failed, *, final: bool) -> None:
        self._open[attempt.key.run_key] += 1
        self._queue.put_nowait((attempt, failed, final))

    async def run(self) -> None:
        """Loop: examine what failed, several at once."""
        async with asyncio.TaskGroup() as group:
            while True:
                attempt, failed, final = await self._queue.get()
                group.create_task(self._examine(attempt, failed, final=final), name=f"post-mortem {attempt}")

    async def settled(self, run: RunKey) -> None:
        """Wait until every failure of the run that is known so far has been examined."""
        async with self._settled:
            await self._settled.wait_for(lambda: run not in self._open)

    async def _examine(self, attempt: Attempt, failed: Failed, *, final: bool) -> None:
        loop = asyncio.get_running_loop()
        patience = loop.call_later(TERMINATION_WAITS_SECONDS, self._release, attempt.key, ()) if final else None
        lines: tuple[str, ...] = ()
        no_log = ""
        try:
            # The patience begins with the slot: logs that hang must not cost those behind them theirs.
            async with self._slots, asyncio.timeout(GIVE_UP_SECONDS):
                with self._step("post-mortem"):
                    lines = await self._backplane.tail(attempt, LINES)
        except BackplaneError as exc:
            no_log = str(exc)
        except TimeoutError:
            no_log = f"the log could not be read within {GIVE_UP_SECONDS:.0f} s"
        if patience:
            patience.cancel()
            self._release(attempt.key, lines)
        (log.error if final else log.warning)(
            "model.failed" if final else "model.attempt_failed",
            simulation=attempt.key.simulation,
            run=attempt.key.run,
            model=attempt.key.model,
            attempt=attempt.number,
            exit_code=failed.exit_code,
            reason=str(failed.reason),
            message=failed.message,
            last_lines=list(lines),
            **({"no_log": no_log} if no_log else {}),
        )
        async with self._settled:
            run = attempt.key.run_key
            self._open[run] -= 1
            if not self._open[run]:
                del self._open[run]
            self._settled.notify_all()
        self._examined(attempt, failed)
