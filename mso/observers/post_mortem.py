"""Post-mortem: what an attempt that failed wrote last, and what its backplane says of it: for log and termination."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager

import structlog

from mso.backplane import Backplane, BackplaneError
from mso.changes import Change, ModelChanged
from mso.model import NO_EXIT_CODE, Attempt, Failed, Model, ModelKey, Reason, Retry, RunKey

log = structlog.get_logger()

LINES = 30
AT_ONCE = 16
"""Logs that are read at the same time."""
TERMINATION_WAITS_SECONDS = 2.0
"""docs/protocol.md, *Promises*."""
GIVE_UP_SECONDS = 15.0


class PostMortem:
    """Observer and loop.

    `release` lets a termination go, with last lines and warnings; `examined` says that the attempt is needed no more.
    """

    def __init__(
        self,
        backplane: Backplane,
        *,
        step: Callable[[str], AbstractContextManager[None]],
        release: Callable[[ModelKey, tuple[str, ...], tuple[str, ...]], None],
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

    def again(self, model: Model) -> None:
        """A failed model of an earlier process, which was killed before its log was read."""
        failed = Failed(model.exit_code or NO_EXIT_CODE, model.reason or Reason.ERROR, model.message)
        self._enqueue(model.current, failed, final=True)

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
        log_read, warnings_read = _Reading(), _Reading()

        def release() -> None:
            self._release(attempt.key, log_read.lines, warnings_read.lines)

        # The patience begins before the slot: logs that hang must not cost those behind them theirs.
        patience = asyncio.get_running_loop().call_later(TERMINATION_WAITS_SECONDS, release) if final else None
        async with self._slots:
            with self._step("post-mortem"):
                await asyncio.gather(
                    log_read.read("log", self._backplane.tail(attempt, LINES)),
                    warnings_read.read("warnings", self._backplane.warnings(attempt)),
                )
        if patience:
            patience.cancel()
            release()
        (log.error if final else log.warning)(
            "model.failed" if final else "model.attempt_failed",
            simulation=attempt.key.simulation,
            run=attempt.key.run,
            model=attempt.key.model,
            attempt=attempt.number,
            exit_code=failed.exit_code,
            reason=str(failed.reason),
            message=failed.message,
            last_lines=list(log_read.lines),
            **({"no_log": log_read.trouble} if log_read.trouble else {}),
            **({"warnings": list(warnings_read.lines)} if warnings_read.lines else {}),
        )
        async with self._settled:
            run = attempt.key.run_key
            self._open[run] -= 1
            if not self._open[run]:
                del self._open[run]
            self._settled.notify_all()
        self._examined(attempt, failed)


class _Reading:
    """What could be read so far, and why no more."""

    def __init__(self) -> None:
        self.lines: tuple[str, ...] = ()
        self.trouble = ""

    async def read(self, what: str, reading: Awaitable[tuple[str, ...]]) -> None:
        try:
            async with asyncio.timeout(GIVE_UP_SECONDS):
                self.lines = await reading
        except BackplaneError as exc:
            self.trouble = str(exc)
        except TimeoutError:
            self.trouble = f"the {what} could not be read within {GIVE_UP_SECONDS:.0f} s"
