"""A backplane in memory, held to the contract suite. What its models do is decided by the test that holds its World."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Self

from mso.backplane import BackplaneError, Capabilities, DeployError, Listed, Mark, Observation, Recollection
from mso.backplane.lines import last_lines
from mso.model import Attempt, End, Failed, Model, Reason, RunKey, State, Succeeded


@dataclass(slots=True)
class Running:
    """One attempt of the world."""

    model: Model
    started_at: datetime
    log: bytes = b""
    end: End | None = None


@dataclass(slots=True)
class World:
    """What outlives every FakeBackplane: the machine that the models run on, and its whims."""

    attempts: dict[Attempt, Running] = field(default_factory=dict)
    marks: dict[RunKey, set[Mark]] = field(default_factory=dict)
    starts: list[Attempt] = field(default_factory=list)
    """Every process that was ever started, in order."""
    warnings: dict[Attempt, list[str]] = field(default_factory=dict)
    """What there is to complain of about an attempt."""
    refuse: dict[str, DeployError] = field(default_factory=dict)
    """What becomes of an image that cannot be deployed."""
    trouble: BackplaneError | None = None
    """Raised by everything but `watch` and `health` while it is set; `health` tells it."""
    watchers: set["asyncio.Queue[Attempt]"] = field(default_factory=set)

    def finish(
        self, attempt: Attempt, exit_code: int, reason: Reason = Reason.ERROR, *, by_itself: bool = True
    ) -> None:
        """Let the attempt end."""
        running, now = self.attempts[attempt], datetime.now(UTC) if by_itself else None
        if running.end is None:
            running.end = (
                Succeeded(running.started_at, now)
                if exit_code == 0
                else Failed(exit_code, reason, f"exit code {exit_code}", running.started_at, now)
            )
            self._tell(attempt)

    def vanish(self, attempt: Attempt) -> None:
        """Let somebody delete it behind our back."""
        del self.attempts[attempt]
        self._tell(attempt)

    def say(self, attempt: Attempt, text: bytes) -> None:
        self.attempts[attempt].log += text

    def _tell(self, attempt: Attempt) -> None:
        for watcher in self.watchers:
            watcher.put_nowait(attempt)


class FakeBackplane:
    """Runs nothing. Several of them over one World are processes of MSO that come one after the other."""

    def __init__(
        self,
        world: World | None = None,
        *,
        capabilities: Capabilities = Capabilities(command=True, resources=True, secrets=True),  # noqa: B008 - frozen
        resync_seconds: float = 30.0,
    ) -> None:
        self.world = world or World()
        self.capabilities = capabilities
        self._resync_seconds = resync_seconds

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        return

    async def deploy(self, model: Model) -> None:
        await self._reach()
        if refusal := self.world.refuse.get(model.spec.image):
            raise refusal
        if model.current not in self.world.attempts:
            asked_for = replace(model, state=State.CREATED, ready=False)
            self.world.attempts[model.current] = Running(asked_for, datetime.now(UTC))
            self.world.starts.append(model.current)

    async def watch(self) -> AsyncIterator[Observation | Listed]:
        changed: asyncio.Queue[Attempt] = asyncio.Queue()
        self.world.watchers.add(changed)
        try:
            while True:
                began = time.monotonic()
                present = frozenset(self.world.attempts)
                for attempt in present:
                    yield self._observe(attempt)
                yield Listed(began, present)
                until = asyncio.get_running_loop().time() + self._resync_seconds
                while True:
                    try:
                        async with asyncio.timeout_at(until):
                            attempt = await changed.get()
                    except TimeoutError:
                        break
                    yield self._observe(attempt)
        finally:
            self.world.watchers.discard(changed)

    async def tail(self, attempt: Attempt, lines: int) -> tuple[str, ...]:
        await self._reach()
        if attempt not in self.world.attempts:
            raise BackplaneError(f"no log of {attempt}: it is not there")
        return last_lines(self.world.attempts[attempt].log, lines)

    async def warnings(self, attempt: Attempt) -> tuple[str, ...]:
        await self._reach()
        return tuple(self.world.warnings.get(attempt, ()))

    async def remove(self, attempt: Attempt) -> None:
        await self._reach()
        if attempt in self.world.attempts:
            self.world.finish(attempt, 143, by_itself=False)

    async def stop_run(self, run: RunKey) -> None:
        await self._reach()
        for attempt in self._attempts_of(run):
            self.world.finish(attempt, 143, by_itself=False)

    async def remove_run(self, run: RunKey) -> None:
        await self.stop_run(run)
        for attempt in self._attempts_of(run):
            del self.world.attempts[attempt]
        self.world.marks.pop(run, None)

    async def mark(self, run: RunKey, mark: Mark) -> None:
        await self._reach()
        if self._attempts_of(run):
            self.world.marks.setdefault(run, set()).add(mark)

    async def health(self) -> tuple[str, ...]:
        return (str(self.world.trouble),) if self.world.trouble else ()

    async def _reach(self) -> None:
        await asyncio.sleep(0)  # the caller meets others here, as it does with every real backplane
        if self.world.trouble:
            raise self.world.trouble

    def _attempts_of(self, run: RunKey) -> list[Attempt]:
        return [attempt for attempt in self.world.attempts if attempt.key.run_key == run]

    def _observe(self, attempt: Attempt) -> Observation:
        running = self.world.attempts.get(attempt)
        if running is None:
            end: End | None = Failed(-1, Reason.POD_DELETED, "somebody deleted it")
        else:
            end = running.end

        def recall() -> Recollection:
            if running is None:
                raise BackplaneError(f"{attempt} is not there any more")
            return Recollection(running.model, frozenset(self.world.marks.get(attempt.key.run_key, ())))

        return Observation(attempt, end, recall)
