"""What the judge is shown: what was asked for, what was said on the wire, what really ran, and which faults befell it.

Times are those of time.monotonic() of the harness, whose clock nobody turns.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

from mso.protocol.messages import lifecycle_pb2
from tests.chaos.faults import Kind
from tests.chaos.plan import Manner, ModelPlan, RunPlan

NO_EXIT_CODE = -1
REMOVED = frozenset({NO_EXIT_CODE, 128 + 9, 128 + 15})
"""Exit codes of a model that was made to end, or of which nobody knows how it ended."""


@dataclass(frozen=True)
class Word:
    """One message as the judge's own session received it."""

    at: float
    topic: str
    payload: bytes = field(repr=False)
    redelivered: bool = False
    """The broker marked it as delivered again (DUP)."""
    again: bool = False
    """The very delivery that came before, repeated by the broker to this session: nobody said it twice."""

    @cached_property
    def _parts(self) -> list[str]:
        return self.topic.split("/")

    @property
    def name(self) -> str:
        return self._parts[-1]

    @property
    def by_mso(self) -> bool:
        return self._parts[2] == "mso"

    @property
    def simulation(self) -> str:
        return self._parts[4]

    @property
    def model(self) -> str:
        return self._parts[5] if len(self._parts) == 7 else ""

    @cached_property
    def end(self) -> lifecycle_pb2.ModelHasTerminated:
        return lifecycle_pb2.ModelHasTerminated.FromString(self.payload)


@dataclass(slots=True, eq=False)
class Played:
    """A run as its orchestrator played it."""

    plan: RunPlan
    simulation: str
    """The id that was used: that of the plan, unless a run that was never ended holds it."""
    asked: float
    payloads: list[bytes] = field(default_factory=list, repr=False)
    """The requests, one for each part."""
    all_said: bool = False
    """Every part, and every copy that goes out at once, was acknowledged by the broker."""
    stopped: float | None = None
    """When SimulationDone was first sent."""
    released: bool = False
    ended: float | None = None
    """When its orchestrator had heard the end of all of it; None for ever if it gave up waiting."""

    def owns(self, end: Word) -> bool:
        """Whether this ModelHasTerminated can be about this run, if its simulation is right."""
        for model in self.plan.models:
            if model.id == end.model:
                code = end.end.exitCode
                return self.plan.manner is not Manner.SAME or code in model.fate.codes or code in REMOVED
        return False


@dataclass(slots=True, eq=False)
class Life:
    """One process of a model, from its first word to its last breath."""

    simulation: str
    model: str
    run: Played | None
    """None if nobody asked for it."""
    number: int
    """Counts the lives of this model in this run, from 1."""
    where: str
    """Process id and host; on a cluster the host is the pod."""
    began: float
    ended: float | None = None
    said: int | None = None
    """How it said that it would end, before it did: exit code, or minus a signal."""
    termed: float | None = None
    """When SIGTERM came."""
    hand: float | None = None
    """When somebody laid hands on its pod."""


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod, by what the message that asked for it put into its environment."""

    simulation: str
    model: str
    uid: str
    name: str
    seen: float


@dataclass(frozen=True, slots=True)
class Happened:
    """A fault that was made."""

    kind: Kind
    began: float
    ended: float
    note: str = ""


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that is known of one round, and of the rounds before it the last run of each simulation."""

    runs: Sequence[Played]
    words: Sequence[Word]
    lives: Sequence[Life]
    faults: Sequence[Happened] = ()
    before: Sequence[Played] = ()
    pods: Sequence[Pod] = ()
    left: Sequence[str] = ()
    """Processes or pods of ours that were still there at the end."""
    touched: Sequence[str] = ()
    """Strangers that are not as they were."""

    def pods_of(self, run: Played, model: ModelPlan) -> list[Pod]:
        later = [other.asked for other in self.runs if other.simulation == run.simulation and other.asked > run.asked]
        until = min(later, default=math.inf)
        return [
            pod
            for pod in self.pods
            if (pod.simulation, pod.model) == (run.simulation, model.id) and run.asked <= pod.seen < until
        ]

    def lives_of(self, run: Played, model: ModelPlan) -> list[Life]:
        return [life for life in self.lives if life.run is run and life.model == model.id]
