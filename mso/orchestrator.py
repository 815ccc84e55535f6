"""The loops: orders in, models deployed, watched, timed and removed. Edges are seen only as protocols.

Each loop reads one source and feeds the inventory; what follows is in the Changes. No loop waits for another one's I/O:
a deployment is a task of its own, and so is every removal. What is done about a Change is done when it is durable.
"""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum, auto
from typing import assert_never

import structlog

from mso.backplane import Backplane, BackplaneError, Listed, Observation
from mso.changes import (
    Change,
    ModelChanged,
    SimulationAdopted,
    SimulationRemoving,
    SimulationReported,
    SimulationStopping,
)
from mso.crash import reached
from mso.deployment import Deployment
from mso.inventory import Inventory
from mso.ledger import AttemptDeployed, Entry
from mso.model import (
    NO_EXIT_CODE,
    Attempt,
    End,
    Failed,
    Mark,
    Model,
    ModelKey,
    Reason,
    RunKey,
    State,
)
from mso.patience import persist
from mso.runs import Run
from mso.timetable import Timetable

log = structlog.get_logger()

RETENTION_LOOK_SECONDS = 3600.0
"""Retention goes by the calendar, so it is looked at again at least this often, should the clock be set."""

STILL_THERE = frozenset(
    {
        Reason.READY_TIMEOUT,
        Reason.RUNTIME_EXCEEDED,
        Reason.IMAGE_PULL_FAILED,
        Reason.UNSCHEDULABLE,
        Reason.NODE_LOST,
        Reason.DEPLOY_FAILED,  # a deployment that was given up may have come to something all the same
    }
)
"""Failures of an attempt that has not ended by itself: it is removed once its log has been read."""


class _Due(Enum):
    READY = auto()
    RUNTIME = auto()
    GRACE = auto()
    RETENTION = auto()


@dataclass(frozen=True, slots=True)
class Limits:
    """What the operator set."""

    deploy_concurrency: int = 32
    deploy_timeout: timedelta = timedelta(seconds=300)
    """How long a deployment is tried that the backplane cannot do now."""
    ready_timeout: timedelta | None = None
    """For models whose request names none."""
    stop_grace: timedelta = timedelta(seconds=30)
    max_active: int | None = None
    """How many models may live at once; None is no limit."""


class Orchestrator:
    """Deploys what the inventory was asked for, tells it what became of that, and cleans up.

    `step` marks a turn of a loop (mso.pulse), `write` writes down (mso.record), `deployed` counts an outcome, `listed`
    notes a whole listing, `settled` waits until nothing wants to read the logs of a run any more.
    """

    def __init__(
        self,
        inventory: Inventory,
        backplane: Backplane,
        limits: Limits,
        *,
        step: Callable[[str], AbstractContextManager[None]],
        write: Callable[[Sequence[Entry]], None],
        deployed: Callable[[str, float], None],
        listed: Callable[[], None],
        settled: Callable[[RunKey], Awaitable[None]],
    ) -> None:
        self._inventory = inventory
        self._backplane = backplane
        self._limits = limits
        self._step = step
        self._write = write
        self._note_listing = listed
        self._settled = settled
        self.deployment = Deployment(
            inventory,
            backplane,
            concurrency=limits.deploy_concurrency,
            timeout=limits.deploy_timeout,
            max_active=limits.max_active,
            deployed=deployed,
            follow=self._take_note,
        )
        self._chores: asyncio.Queue[tuple[str, Coroutine[None, None, None]]] = asyncio.Queue()
        self._deployed: dict[Attempt, float] = {}
        """When a deployment returned (time.monotonic): only what was there before a listing began can be missing."""
        self._restored: list[Model] = []
        """Those that lived when an earlier process wrote them down: the first listing says what became of them."""
        self._ghosts: set[Attempt] = set()
        """What lives of models that have ended, or are at a later attempt, by what an earlier process wrote down."""
        self._strangers: dict[Attempt, Observation] = {}
        self._removing: set[RunKey] = set()
        self._timetable: Timetable[tuple[_Due, Attempt | RunKey]] = Timetable()
        self._timetable_changed = asyncio.Event()
        self.recovered = asyncio.Event()
        """The first listing has been read: what the backplane runs is known here."""

    # -- the observer ---------------------------------------------------------------------------------------------

    def observe(self, change: Change) -> None:
        """Queue what this Change asks to be done."""
        self.deployment.observe(change)
        match change:
            case ModelChanged(before=before, model=model) if model.state.terminal or before.attempt != model.attempt:
                self._deployed.pop(before.current, None)
            case SimulationStopping(run=run):
                self._do(f"mark {run}", self.mark(run, Mark.STOPPING))  # whoever decided it: STOP_ALL has no message
                self._at(self._limits.stop_grace, _Due.GRACE, run)
            case SimulationRemoving(run=run):
                self._do(f"stop {run}", self._stop_run(run))
            case SimulationReported(run=run):
                self._do(f"mark {run}", self._mark_reported(run))
            case SimulationAdopted(run=run, marks=marks, living=living) if Mark.REPORTED in marks:
                if living:  # given up by an earlier process, which did not come to remove it
                    self._do(f"stop {run}", self._stop_run(run))
                self._at(timedelta(0), _Due.RETENTION, run)
            case _:
                pass

    def resume(self, deployed: frozenset[Attempt]) -> None:
        """Go on with the restored runs; `deployed` are the attempts that had been seen where models run."""
        for run in sorted(self._inventory.runs(), key=_opened_at):
            if run.reported_at:
                self._at(timedelta(0), _Due.RETENTION, run.key)
            elif run.stopping:
                self._do(f"mark {run.key}", self.mark(run.key, Mark.STOPPING))  # it may not have come to that
                if not run.removing_since:
                    self._at(self._limits.stop_grace, _Due.GRACE, run.key)
            living = [run.models[model] for model in run.models if model in run.living]
            self._restored += living
            there = [model for model in living if model.current in deployed]
            # From before any listing: a listing that does not show them says that they are gone.
            self._deployed |= {model.current: -math.inf for model in there}
            self.deployment.resume(run.key, [model.key for model in there])

    def examined(self, attempt: Attempt, failed: Failed) -> None:
        """The log of a failed attempt has been read: what is left of it may go, and the next attempt may come."""
        model = self._inventory.model(attempt.key)
        again = model is not None and not model.state.terminal and model.attempt == attempt.number + 1
        if again or failed.reason in STILL_THERE:
            self._do(f"bury {attempt}", self._bury(attempt, again=again))

    async def _mark_reported(self, run: RunKey) -> None:
        """All that was to be told of the run has been told: from its end on, its logs are kept as long as was asked."""
        await self.mark(run, Mark.REPORTED)
        self._at(timedelta(0), _Due.RETENTION, run)

    async def mark(self, run: RunKey, mark: Mark) -> None:
        """Write a mark on a run, for as long as that takes."""
        await self._persist(f"mark {mark}", run, lambda: self._backplane.mark(run, mark))

    def _take_note(self, model: Model) -> None:
        """It runs, for all that we know since this moment."""
        self._write([AttemptDeployed(model.current)])
        self._follow(model)

    def _follow(self, model: Model) -> None:
        """From now on a model that is missing is gone, and its time runs.

        After a restart it begins anew: a clock that was set meanwhile must not end a model, and what announced itself
        while nobody was there is still at the broker (fault R1). A cluster keeps the time of its pods itself.
        """
        now = self._inventory.model(model.key)
        if now is None or now.state.terminal or now.attempt != model.attempt:
            return
        self._deployed[model.current] = time.monotonic()
        ready_timeout = model.spec.ready_timeout or self._limits.ready_timeout
        if ready_timeout and not now.ready:
            self._at(ready_timeout, _Due.READY, model.current)
        if model.spec.max_runtime:
            self._at(model.spec.max_runtime, _Due.RUNTIME, model.current)

    # -- watching -------------------------------------------------------------------------------------------------

    async def watch_models(self) -> None:
        """Loop: what the backplane sees goes into the inventory; what it no longer lists is gone."""
        async for seen in self._backplane.watch():
            with self._step("watch-models"):
                match seen:
                    case Observation():
                        self._observe(seen)
                    case Listed():
                        self._reconcile(seen)
                    case _:
                        assert_never(seen)

    def _observe(self, seen: Observation) -> None:
        model = self._inventory.model(seen.attempt.key)
        if model is None:
            self._strangers[seen.attempt] = seen
        elif seen.end is not None:
            self._inventory.apply(seen.attempt, seen.end)
        elif not self.recovered.is_set() and (model.state.terminal or model.attempt > seen.attempt.number):
            self._ghosts.add(seen.attempt)

    def _reconcile(self, listed: Listed) -> None:
        if not self.recovered.is_set():
            self._take_up(listed)
        self._adopt_strangers()
        for attempt, since in list(self._deployed.items()):
            if since < listed.began and attempt not in listed.present:
                self._inventory.apply(
                    attempt, Failed(NO_EXIT_CODE, Reason.POD_DELETED, "it is gone, and nobody saw how it ended")
                )
        for run in list(self._inventory.runs()):
            # A removal that did not take hold is asked for again, until a listing shows nothing that lives.
            if run.removing_since and run.ended_at is None:
                self._do(f"stop {run.key}", self._stop_run(run.key))
        self.deployment.admit()  # the last part of a request may have brought no model, and so no Change
        self._note_listing()
        self.recovered.set()

    def _take_up(self, listed: Listed) -> None:
        """The first listing: what was known and is there is followed; what was never seen there is deployed now."""
        for restored in self._restored:
            model = self._inventory.model(restored.key)
            if model is None or model.state.terminal:
                continue
            if model.attempt != restored.attempt:
                self.deployment.resume(model.key.run_key, [model.key])  # it has failed meanwhile, and is tried again
            elif model.current in listed.present:
                if model.current not in self._deployed:
                    self._write([AttemptDeployed(model.current)])
                    self.deployment.resume(model.key.run_key, [model.key])
                self._follow(model)
            elif model.current not in self._deployed:
                # What is left of the attempt before goes first, as it would have without the kill.
                before = Attempt(model.key, model.attempt - 1)
                if before.number:
                    self.deployment.resume(model.key.run_key, [model.key])
                    self._do(f"bury {before}", self._bury(before, again=True))
                else:
                    self.deployment.wait(model.key)
        for ghost in self._ghosts:
            self._do(f"bury {ghost}", self._lay(ghost))
        self._restored.clear()
        self._ghosts.clear()

    async def _lay(self, ghost: Attempt) -> None:
        await self._settled(ghost.key.run_key)  # its log may be wanted
        await self._bury(ghost, again=False)

    def _adopt_strangers(self) -> None:
        runs: dict[RunKey, dict[ModelKey, Observation]] = {}
        for seen in self._strangers.values():
            run = seen.attempt.key.run_key
            if self._inventory.is_new(run):
                newest = runs.setdefault(run, {})
                known = newest.get(seen.attempt.key)
                if known is None or known.attempt.number < seen.attempt.number:
                    newest[seen.attempt.key] = seen
        self._strangers.clear()
        for run in sorted(runs):
            self._adopt(run, runs[run].values())

    def _adopt(self, run: RunKey, seen: Iterable[Observation]) -> None:
        found: list[tuple[Model, End | None]] = []
        marks: frozenset[Mark] = frozenset()
        for observation in seen:
            try:
                recollection = observation.recall()
            except BackplaneError as exc:
                log.error("model.not_adopted", attempt=str(observation.attempt), why=str(exc))
                continue
            found.append((recollection.model, observation.end))
            marks |= recollection.marks
        if not found:
            return
        self._inventory.adopt(run, found, marks)
        for model, end in found:
            if end is None:
                self._take_note(model)

    # -- timing and removing --------------------------------------------------------------------------------------

    async def sweep_expired(self) -> None:
        """Loop: what has taken too long is given up, what was kept long enough is removed."""
        while True:
            self._timetable_changed.clear()
            due = self._timetable.next
            try:
                async with asyncio.timeout(None if due is None else max(0.0, due - time.monotonic())):
                    await self._timetable_changed.wait()
            except TimeoutError:
                with self._step("sweep-expired"):
                    for what, about in self._timetable.due(time.monotonic()):
                        self._expire(what, about)

    def _expire(self, what: _Due, about: Attempt | RunKey) -> None:
        match what, about:
            case _Due.READY, Attempt() as attempt:
                model = self._inventory.model(attempt.key)
                if model and model.current == attempt and model.state is State.CREATED:
                    self._give_up(model, Reason.READY_TIMEOUT, "it did not announce ReadyForProcessing in time")
            case _Due.RUNTIME, Attempt() as attempt:
                model = self._inventory.model(attempt.key)
                if model and model.current == attempt:
                    self._give_up(model, Reason.RUNTIME_EXCEEDED, "it ran for longer than its maxRuntimeSeconds")
            case _Due.GRACE, RunKey() as run:
                self._inventory.begin_removal(run)
            case _Due.RETENTION, RunKey() as run:
                self._keep_or_remove(run)
            case _:
                raise AssertionError(f"{what} is not about {about}")

    def _give_up(self, model: Model, reason: Reason, message: str) -> None:
        self._inventory.apply(model.current, Failed(NO_EXIT_CODE, reason, message, model.started_at))

    def _keep_or_remove(self, key: RunKey) -> None:
        run = self._inventory.run(key)
        if run is None or run.ended_at is None:
            return
        left = run.ended_at + run.request.keep_logs - datetime.now(UTC)
        if left > timedelta(0):
            self._at(min(left, timedelta(seconds=RETENTION_LOOK_SECONDS)), _Due.RETENTION, key)
        else:
            self._do(f"remove {key}", self._remove_run(key))

    async def _stop_run(self, run: RunKey) -> None:
        """Remove what lives of a run; how each of its models ended comes the usual way, through the watch."""
        if run in self._removing:
            return
        self._removing.add(run)
        try:
            await self.deployment.created(run)
            await self._persist("stop", run, lambda: self._backplane.stop_run(run))
        finally:
            self._removing.discard(run)

    async def _remove_run(self, run: RunKey) -> None:
        await self.deployment.created(run)
        await self._settled(run)
        reached("remove.before")
        await self._persist("remove", run, lambda: self._backplane.remove_run(run))
        reached("remove.after")
        self._inventory.forget(run)

    async def _bury(self, attempt: Attempt, *, again: bool) -> None:
        await self.deployment.created(attempt)
        await self._persist("remove", attempt, lambda: self._backplane.remove(attempt))
        if again:
            self.deployment.again(attempt.key)

    async def _persist(self, act: str, about: RunKey | Attempt, call: Callable[[], Awaitable[None]]) -> None:
        """Do it until it is done: what the backplane cannot do now it can do later.

        No step of a loop: what has to end may take its time, and every call of a backplane has a limit of its own.
        """

        def tell(error: BackplaneError, pause: float) -> None:
            log.warning("backplane.retrying", act=act, about=str(about), why=str(error), seconds=round(pause, 1))

        await persist(call, BackplaneError, tell)

    async def do_chores(self) -> None:
        """Loop: removals and the like, each in a task of its own."""
        async with asyncio.TaskGroup() as group:
            while True:
                name, chore = await self._chores.get()
                group.create_task(chore, name=name)

    def _do(self, name: str, chore: Coroutine[None, None, None]) -> None:
        self._chores.put_nowait((name, chore))

    def _at(self, delay: timedelta, what: _Due, about: Attempt | RunKey) -> None:
        self._timetable.add(time.monotonic() + delay.total_seconds(), (what, about))
        self._timetable_changed.set()


def _opened_at(run: Run) -> datetime:
    return min(model.created_at for model in run.models.values())
