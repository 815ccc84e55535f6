"""A simulation orchestrator: plays one run after the other as the plan says, and hears how it ends.

It knows docs/protocol.md and that copies of what it heard may come late. So a run is over for it at the first
AllModelsHaveTerminated after the termination of each of its models: one that comes before that is of the run before.
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial

from mso.protocol.messages import lifecycle_pb2
from tests.chaos.board import Board
from tests.chaos.evidence import Played, Word
from tests.chaos.plan import ModelPlan, RunPlan
from tests.chaos.register import Register
from tests.chaos.wire import Session


@dataclass(slots=True)
class Patience:
    """Until when a run is waited for (monotonic). It is set once all faults are over."""

    until: float = math.inf


@dataclass(frozen=True, slots=True)
class Orchestrator:
    name: str
    session: Session
    register: Register
    board: Board
    patience: Patience
    steady: Callable[[], AbstractContextManager[object]]
    """While it is held the broker is up, and stays up."""

    def play(self, plan: RunPlan, simulation: str, note: Callable[[Played], None]) -> Played:
        """Returns when the run has ended, or patience has. `note` is told of it before anything is said."""
        requests = [self._request(plan, part, simulation) for part in range(len(plan.parts))]
        run = Played(plan, simulation, time.monotonic(), requests)
        note(run)
        self.register.expect(run)
        _Play(self, run).to_the_end()
        return run

    def _request(self, plan: RunPlan, part: int, simulation: str) -> bytes:
        asked = plan.request
        request = lifecycle_pb2.DeployModels(
            simulatorId=f"{self.name}-0",
            modelConfigurations=[self._configuration(model, simulation) for model in plan.parts[part]],
            protocolVersion=2 if asked.version == 2 else 0,
            moreToCome=part + 1 < len(plan.parts),
            requestId=f"{plan.label} {part}" if asked.with_id else "",
            failurePolicy=lifecycle_pb2.STOP_ALL if asked.stop_all else lifecycle_pb2.KEEP_OTHERS,
        )
        return request.SerializeToString()

    def _configuration(self, model: ModelPlan, simulation: str) -> lifecycle_pb2.ModelConfiguration:
        environment = {"SIMULATION_ID": simulation, "MODEL_ID": model.id, "REGISTER": self.register.address}
        return lifecycle_pb2.ModelConfiguration(
            modelID=model.id,
            imageUrl=model.image,
            environmentVariables=[
                lifecycle_pb2.EnvironmentVariable(name=name, value=value) for name, value in environment.items()
            ],
            retries=model.retries,
            readyTimeoutSeconds=model.ready_timeout,
            maxRuntimeSeconds=model.max_runtime,
        )


@dataclass(slots=True)
class _Due:
    """Something to say, and when."""

    at: float
    say: Callable[[], None]


@dataclass(slots=True)
class _Play:
    by: Orchestrator
    run: Played
    heard: int = 0
    """How many words about the simulation were read."""
    missing: set[str] = field(default_factory=set)
    failed: bool = False
    ready: bool = False
    unacknowledged: set[int] = field(default_factory=set)
    """The first copies of its requests."""
    said: int = 0
    """Parts that were said."""

    def to_the_end(self) -> None:
        by, run, plan = self.by, self.run, self.run.plan
        self.heard = len(self._words())
        self.missing = {model.id for model in plan.models}
        agenda = sorted(self._agenda(), key=lambda due: due.at)
        while run.ended is None:
            patience = by.patience.until
            until = min(agenda[0].at if agenda else math.inf, patience)
            by.board.wait(partial(self._is_time, patience), until)
            self._react()
            now = time.monotonic()
            while agenda and agenda[0].at <= now and run.ended is None:
                agenda.pop(0).say()
            if now >= by.patience.until:
                return
        self._afterwards()

    def _agenda(self) -> Iterator[_Due]:
        plan, began = self.run.plan, self.run.asked
        for part in range(len(plan.parts)):
            yield _Due(began + part * plan.request.gap, lambda part=part: self._ask(part))  # type: ignore[misc]
        for copy in plan.request.copies:
            yield _Due(began + copy, lambda: self._ask(0, first=False))
        for stop in plan.stops:
            yield _Due(began + (len(plan.parts) - 1) * plan.request.gap + stop, self._stop)

    def _words(self) -> list[Word]:
        return self.by.session.about[self.run.simulation]

    def _is_time(self, patience: float) -> bool:
        """Whether there is something to react to, or patience is not what it was."""
        return len(self._words()) > self.heard or self._is_all_said() or self.by.patience.until != patience

    def _is_all_said(self) -> bool:
        parts = len(self.run.plan.parts)
        acknowledged = all(map(self.by.session.acknowledged, self.unacknowledged))
        return not self.run.all_said and self.said == parts and acknowledged

    def _react(self) -> None:
        run, register = self.run, self.by.register
        words = self._words()
        while self.heard < len(words):
            self._hear(words[self.heard])
            self.heard += 1
        if self._is_all_said():
            register.all_said(run)
        if not run.released and run.plan.waits_for_models_ready and (self.ready or self.failed):
            register.release(run)

    def _hear(self, word: Word) -> None:
        match word.name:
            case "ModelsReady":
                self.ready = True
            case "ModelHasTerminated" if self.run.owns(word):
                self.missing.discard(word.model)
                self.failed |= word.end.status == lifecycle_pb2.FAILED
            case "AllModelsHaveTerminated" if not self.missing:
                self.run.ended = word.at

    def _topic(self, name: str) -> str:
        return f"/lifecycle/{self.by.name}/mso/{self.run.simulation}/{name}"

    def _ask(self, part: int, *, first: bool = True) -> None:
        topic, payload = self._topic("DeployModels"), self.run.payloads[part]
        if self.run.plan.said_once:
            with self.by.steady():
                self.by.session.deliver(topic, payload, self.by.patience.until)
        else:
            number = self.by.session.publish(topic, payload)
            if not self.run.plan.request.with_id or first:
                self.unacknowledged.add(number)
        self.said += first

    def _stop(self) -> None:
        if self.run.stopped is None:
            self.run.stopped = time.monotonic()
        self.by.session.publish(self._topic("SimulationDone"))
        self.by.register.done(self.run)

    def _afterwards(self) -> None:
        """What is said of a run that is over."""
        late = self.run.plan.request.late_copy
        if late is not None:
            by = self.by
            by.board.wait(lambda: False, min(time.monotonic() + late, by.patience.until))
            by.session.deliver(self._topic("DeployModels"), self.run.payloads[0], by.patience.until)
