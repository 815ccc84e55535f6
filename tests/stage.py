"""An orchestrator on a stage: a backplane that acts when the test lets it, in a time that passes when it says so."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from mso.backplane import BackplaneError, Listed, Observation
from mso.changes import Change, ModelChanged, SimulationAdopted
from mso.inventory import Inventory
from mso.ledger import Entry, Recovered
from mso.model import (
    Attempt,
    Failed,
    Mark,
    Model,
    ModelSpec,
    RunKey,
    SimulationId,
)
from mso.orchestrator import Limits, Orchestrator
from mso.recovery import restore
from tests.builders import RUN, Clock, attempt, key, known, order, request
from tests.fakes.backplane import FakeBackplane, World
from tests.fakes.record import FakeRecord
from tests.happening import Happening, calm, running

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)

Act = tuple[str, Attempt | RunKey]


@dataclass
class Time(Clock):
    """Two of them: one passes, and the calendar follows it until somebody sets it."""

    set_ahead: timedelta = timedelta(0)

    def calendar(self) -> datetime:
        return self() + self.set_ahead


def standing_still(monkeypatch: pytest.MonkeyPatch) -> Time:
    """The time of the orchestrator and of the machine, inside of which nothing is ever slow."""
    time = Time()
    monkeypatch.setattr("mso.orchestrator.time", SimpleNamespace(monotonic=lambda: time().timestamp()))
    for module in ("mso.orchestrator", "tests.fakes.backplane"):
        monkeypatch.setattr(f"{module}.datetime", SimpleNamespace(now=lambda _: time.calendar()))
    return time


async def started_earlier(*models: Model, marks: tuple[Mark, ...] = ()) -> World:
    """A world in which an earlier process started these."""
    world = World()
    for one in models:
        await FakeBackplane(world).deploy(one)
    world.marks[RUN] = set(marks)
    return world


class Machine(FakeBackplane):
    """Lists and tells when it is asked to; each act is written down, and waits where the test has shut a gate."""

    def __init__(self, world: World, time: Time, happening: Happening) -> None:
        super().__init__(world)
        self._time = time
        self._happening = happening
        self._sights: asyncio.Queue[Observation | Listed] = asyncio.Queue()
        self._gates: dict[Act, asyncio.Event] = {}
        self.acts: list[Act] = []
        self.bugs: dict[str, Exception] = {}
        """What an act raises that no backplane should."""
        self.busy: list[BackplaneError] = []
        """What the next deployments are answered with, one each."""
        self.deaf = False
        """Whether what runs survives `stop_run`."""

    # What the test does.

    def shut(self, act: str, about: Attempt | RunKey) -> asyncio.Event:
        """The gate before this act; `answer` is the one behind a deployment that has been made."""
        return self._gates.setdefault((act, about), asyncio.Event())

    async def see(self, *sights: Observation | Listed) -> None:
        """The watch says these. Returns when each was acted on."""
        for sight in sights:
            self._sights.put_nowait(sight)
        await self._sights.join()

    async def look(self) -> None:
        """One listing, which begins a second later than all that was before."""
        self._time.move(1)
        await self.see(*(self.sight(one) for one in self.world.attempts), self.listing())

    def sight(self, about: Attempt) -> Observation:
        return self._observe(about)

    def listing(self) -> Listed:
        """That of what is there now, begun now."""
        return Listed(self._time().timestamp(), frozenset(self.world.attempts))

    async def finish(self, about: Attempt, exit_code: int) -> None:
        """The attempt ends by itself, and the watch says so."""
        self.world.finish(about, exit_code)
        await self.see(self.sight(about))

    # What Backplane promises.

    async def watch(self) -> AsyncIterator[Observation | Listed]:
        self._stumble("watch")
        while True:
            yield await self._sights.get()
            self._sights.task_done()

    async def deploy(self, model: Model) -> None:
        await self._begin("deploy", model.current)
        if self.busy:
            raise self.busy.pop()
        await super().deploy(model)
        self._happening.tell()
        await self._pass("answer", model.current)

    async def remove(self, attempt: Attempt) -> None:
        await self._begin("remove", attempt)
        await super().remove(attempt)

    async def stop_run(self, run: RunKey) -> None:
        await self._begin("stop_run", run)
        if not self.deaf:
            await super().stop_run(run)

    async def remove_run(self, run: RunKey) -> None:
        await self._begin("remove_run", run)
        await self._reach()
        for one in self._attempts_of(run):
            del self.world.attempts[one]

    async def mark(self, run: RunKey, mark: Mark) -> None:
        await self._begin("mark", run)
        await super().mark(run, mark)

    async def _begin(self, act: str, about: Attempt | RunKey) -> None:
        self.acts.append((act, about))
        self._happening.tell()
        self._stumble(act)
        await self._pass(act, about)

    async def _pass(self, act: str, about: Attempt | RunKey) -> None:
        if gate := self._gates.get((act, about)):
            await gate.wait()

    def _stumble(self, act: str) -> None:
        if act in self.bugs:
            raise self.bugs[act]


class Stage:
    """An orchestrator with all that it needs; the test stands in for the observers that it works with.

    Whatever happens is durable at once, unless its record holds it back.
    """

    def __init__(self, time: Time, world: World | None = None, **limits: Any) -> None:
        self._time = time
        self._happening = Happening()
        self.until = self._happening.until
        self.machine = Machine(world or World(), time, self._happening)
        self.inventory = Inventory(time.calendar)
        self.changes: list[Change] = []
        self.record = FakeRecord()
        """What is done about a Change is done when the record lets it go."""
        self.outcomes: list[str] = []
        self.listings = 0
        self.settled = asyncio.Event()
        """The post-mortems of every run are done."""
        self.settled.set()
        self.orchestrator = Orchestrator(
            self.inventory,
            self.machine,
            Limits(**limits),
            step=lambda _: nullcontext(),
            write=self.record.write,
            deployed=self._count,
            listed=self._note_listing,
            settled=self._settled,
        )
        self.inventory.subscribe(self.changes.append)
        self.inventory.subscribe(lambda change: self.record.write((), lambda: self.orchestrator.observe(change)))
        self.inventory.subscribe(self._happening.tell)

    def playing(self) -> AbstractAsyncContextManager[None]:
        """Every loop turns."""
        return running(
            self.orchestrator.watch_models(),
            self.orchestrator.deployment.deploy_models(),
            self.orchestrator.sweep_expired(),
            self.orchestrator.do_chores(),
        )

    async def deployed(self, *models: str | ModelSpec, **fields: Any) -> None:
        """These are ordered, and started."""
        self.inventory.add(order(*models, **fields))
        await self.orchestrator.deployment.all_deployed()

    async def ended(self, *models: str, **fields: Any) -> None:
        """A run of these has been, and ended well."""
        await self.deployed(*models, **fields)
        for one in models:
            await self.machine.finish(attempt(one), 0)

    async def wait(self, span: timedelta) -> None:
        """Let time pass. An entry that is due at once makes the sweep look at the clock again, which else sleeps on."""
        self._time.move(span.total_seconds())
        reported = frozenset({Mark.REPORTED})
        self.orchestrator.observe(SimulationAdopted(RunKey(SimulationId("nobody's"), 1), request(), 0, 0, reported))
        await calm()

    async def reported(self, run: RunKey = RUN) -> None:
        """The broker has acknowledged the last word about an ended run."""
        self.inventory.reported(run)
        await calm()

    def resume(self, recovered: Recovered) -> None:
        """This is another process, which begins with what an earlier one wrote down."""
        self.orchestrator.resume(restore(self.inventory, recovered))

    @property
    def written(self) -> list[Entry]:
        """What the orchestrator itself wrote down."""
        return self.record.entries

    def model(self, name: str = "m-0") -> Model:
        return known(self.inventory, key(name))

    def begun(self, act: str) -> list[Attempt | RunKey]:
        """Whom this was done to, or is being done to."""
        return [about for what, about in self.machine.acts if what == act]

    def failed(self, name: str = "m-0") -> Failed:
        """The failure of this model's last attempt."""
        (failed,) = [
            change.event
            for change in self.changes
            if isinstance(change, ModelChanged) and change.model.key == key(name) and isinstance(change.event, Failed)
        ]
        return failed

    def _note_listing(self) -> None:
        self.listings += 1

    def _count(self, outcome: str, seconds: float) -> None:
        assert seconds >= 0
        self.outcomes.append(outcome)
        self._happening.tell()

    async def _settled(self, _: RunKey) -> None:
        await self.settled.wait()
