"""The plan of a round: what is asked for, and what becomes of each model. Pure: the same seed gives the same plan.

What a message of MSO is about must always be decidable, although no message names its run:

- The ids of models are used once, so a termination names its run; but for runs of the same bytes (`Manner.SAME`), whose
  models all end with a code that is theirs alone.
- A request that is said twice must not open a second run. With a requestId it never does; without one it is repeated
  only at once, and only for a run that cannot end before its orchestrator has heard ModelsReady. The one kind of run
  that could (`Request.said_once`) is asked for while the broker is up, and stays so until it has acknowledged.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

IMAGE = "mso-test-chaos-model:1"
NO_IMAGE = "localhost/chaos-no-such-image:1"
SIMULATORS = ("chaos-one", "chaos-two")

SIMULATIONS = (("a-b", "A-B"), ("sim 1", "sim-1"), ("süd", "sud"), ("x" * 120, "x" * 119), ("0", "-"), ("ü-2", "ü_2"))
"""The ids, two for each slot: those that are alike have to be told apart."""

LONG_ENOUGH = 90.0
"""Seconds of a time limit that no model ever reaches, whatever the clock says."""


class Manner(StrEnum):
    """How a run goes."""

    PATIENT = "patient"
    """All announce themselves, and end some time after their orchestrator has heard ModelsReady."""
    EAGER = "eager"
    """Each goes its own way: it ends, crashes, hangs, cannot be started, is tried again, is deleted."""
    STOPPED = "stopped"
    """Ended by SimulationDone in the middle."""
    STOP_ALL = "stop all"
    """Ended by the first failure, as the request wants it."""
    IN_PARTS = "in parts"
    """Patient, and asked for with moreToCome."""
    SAME = "same bytes"
    """Patient; the next one of the simulation sends the very same bytes."""


class OnTerm(StrEnum):
    """What a model does about SIGTERM."""

    ENDS = "ends"
    ENDS_WELL = "ends well"
    IGNORES = "ignores"


class Hand(StrEnum):
    """What somebody does by hand to a pod, or a container."""

    DELETES = "delete"
    DELETES_BY_FORCE = "delete by force"
    EVICTS = "evict"


@dataclass(frozen=True, slots=True)
class Fate:
    """What becomes of one model."""

    codes: tuple[int, ...] = (0,)
    """How its attempts end in turn: an exit code, or minus the signal that it kills itself with."""
    lasts: float | None = None
    """Seconds that an attempt works; None: until its run is released, if it ever is."""
    lingers: float = 0.0
    """Seconds from the release to its end."""
    ready: float | None = 0.1
    """Seconds from its start to ReadyForProcessing; None: never."""
    on_term: OnTerm = OnTerm.ENDS
    hears_done: bool = False
    """Ends well when its simulation is done."""
    endless: bool = False
    """No release ends it."""
    hand: Hand | None = None
    hand_after: float = 0.0


@dataclass(frozen=True, slots=True)
class ModelPlan:
    id: str
    fate: Fate = Fate()
    image: str = IMAGE
    retries: int = 0
    ready_timeout: float = 0.0
    max_runtime: float = 0.0


@dataclass(frozen=True, slots=True)
class Request:
    """How a run is asked for."""

    version: int = 1
    with_id: bool = False
    copies: tuple[float, ...] = ()
    """Seconds after the first, when the same bytes are sent again."""
    late_copy: float | None = None
    """The same, after the end of the run."""
    gap: float = 0.0
    """Seconds between the parts."""
    stop_all: bool = False


@dataclass(frozen=True, slots=True)
class RunPlan:
    label: str
    """Names the run in reports; no two runs of a session have the same."""
    simulation: str
    manner: Manner
    parts: tuple[tuple[ModelPlan, ...], ...]
    request: Request = Request()
    stops: tuple[float, ...] = ()
    """Seconds after the request when SimulationDone is sent."""

    @property
    def models(self) -> tuple[ModelPlan, ...]:
        return tuple(model for part in self.parts for model in part)

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(model.id for model in self.models)

    @property
    def said_once(self) -> bool:
        """Whether a second copy of its request could open a second run."""
        return not self.request.with_id and self.manner in (Manner.EAGER, Manner.STOP_ALL)

    @property
    def waits_for_models_ready(self) -> bool:
        return self.manner in (Manner.PATIENT, Manner.IN_PARTS, Manner.SAME)


@dataclass(frozen=True, slots=True)
class Can:
    """What the world allows."""

    signals: bool = True
    """A model can kill itself. Process 1 of a pod cannot."""
    hands: bool = False
    """Somebody deletes pods, or containers, by hand."""
    slots: int = 6
    models: int = 6
    """At most, in one run."""
    same_bytes: bool = True


Slot = tuple[RunPlan, ...]


def runs_of_round(seed: str, can: Can, runs: int) -> tuple[Slot, ...]:
    """What each slot plays, one run after the other: so many runs a slot, or one or two more."""
    return tuple(
        _slot(random.Random(f"{seed}/slot {slot}"), f"{seed}/{slot}", slot, can, runs) for slot in range(can.slots)
    )


def _slot(rng: random.Random, prefix: str, slot: int, can: Can, runs: int) -> Slot:
    planned: list[RunPlan] = []
    manners = [manner for manner in Manner if can.same_bytes or manner is not Manner.SAME]
    weights = [{Manner.EAGER: 4.0, Manner.PATIENT: 3.0, Manner.STOPPED: 2.0}.get(manner, 1.0) for manner in manners]
    while len(planned) < runs:
        simulation = rng.choice(SIMULATIONS[slot % len(SIMULATIONS)])
        (manner,) = rng.choices(manners, weights)
        draw = _Draw(rng, can, f"{prefix}.{len(planned)}", simulation)
        planned += draw.same() if manner is Manner.SAME else [draw.run(manner)]
    return tuple(planned)


@dataclass(slots=True)
class _Draw:
    """Draws one run after the other from one source of chance."""

    rng: random.Random
    can: Can
    label: str
    simulation: str

    def run(self, manner: Manner) -> RunPlan:
        rng = self.rng
        version = 2 if manner in (Manner.STOP_ALL, Manner.IN_PARTS) else rng.choice((1, 2))
        with_id = manner in (Manner.STOP_ALL, Manner.IN_PARTS) or (version == 2 and rng.random() < 0.8)
        fates = {
            Manner.PATIENT: self.patient,
            Manner.IN_PARTS: self.patient,
            Manner.EAGER: self.eager,
            Manner.STOPPED: self.stopped,
            Manner.STOP_ALL: self.stopped,
        }[manner]
        models = [fates(name, version) for name in self.names()]
        if manner is Manner.STOP_ALL:
            models[0] = ModelPlan(models[0].id, Fate((self.code(),), rng.uniform(0.5, 3.0)))
        if manner is Manner.STOPPED:
            models[-1] = ModelPlan(models[-1].id, Fate(endless=True))  # else it could end before it is stopped
        parts: tuple[tuple[ModelPlan, ...], ...] = (tuple(models),)
        if manner is Manner.IN_PARTS and len(models) > 1:
            cut = rng.randrange(1, len(models))
            parts = (tuple(models[:cut]), tuple(models[cut:]))
        return RunPlan(
            self.label,
            self.simulation,
            manner,
            parts,
            Request(version, with_id, *self.copies(manner, with_id), rng.uniform(0.2, 4.0), manner is Manner.STOP_ALL),
            self.stops() if manner is Manner.STOPPED else (),
        )

    def same(self) -> list[RunPlan]:
        """Two or three runs of the same bytes, each with an exit code of its own."""
        ids = self.names()
        copies = self.copies(Manner.SAME, with_id=False)
        return [
            RunPlan(
                f"{self.label}{'abc'[number]}",
                self.simulation,
                Manner.SAME,
                (tuple(ModelPlan(name, replace(self.patient(name, 1).fate, codes=(20 + number,))) for name in ids),),
                Request(1, False, *copies),
            )
            for number in range(self.rng.choice((2, 3)))
        ]

    def names(self) -> list[str]:
        count = self.rng.randint(2, self.can.models)
        return [f"{self.label.replace('/', '-')} m{number}" for number in range(count)]

    def code(self) -> int:
        return self.rng.randint(1, 120)

    def copies(self, manner: Manner, with_id: bool) -> tuple[tuple[float, ...], float | None]:
        rng = self.rng
        if with_id:
            times = tuple(sorted(rng.uniform(0.0, 4.0) for _ in range(rng.choice((0, 0, 1, 2)))))
            return times, rng.uniform(0.1, 2.0) if rng.random() < 0.3 else None
        if manner in (Manner.PATIENT, Manner.SAME) and rng.random() < 0.4:
            return (0.0,), None
        return (), None

    def stops(self) -> tuple[float, ...]:
        first = self.rng.uniform(0.1, 5.0)
        return (first, first + self.rng.uniform(0.0, 3.0)) if self.rng.random() < 0.3 else (first,)

    def patient(self, name: str, version: int) -> ModelPlan:
        rng = self.rng
        codes = (0,) if rng.random() < 0.7 else (self.code(),)
        fate = Fate(codes, lingers=rng.uniform(0.0, 1.5), ready=rng.uniform(0.0, 1.0))
        limit = LONG_ENOUGH if version == 2 and rng.random() < 0.3 else 0.0
        return ModelPlan(name, fate, ready_timeout=limit, max_runtime=2 * limit)

    def stopped(self, name: str, _version: int) -> ModelPlan:
        rng = self.rng
        draw = rng.random()
        if draw < 0.15:
            return ModelPlan(name, Fate((0,), rng.uniform(0.2, 4.0)))
        if draw < 0.4:
            return ModelPlan(name, Fate(endless=True, hears_done=True, lingers=rng.uniform(0.0, 1.0)))
        ways = (OnTerm.ENDS, OnTerm.ENDS, OnTerm.ENDS_WELL, OnTerm.IGNORES)
        return ModelPlan(name, Fate(endless=True, on_term=rng.choice(ways), ready=rng.choice((0.1, 0.5, None))))

    def eager(self, name: str, version: int) -> ModelPlan:
        """One that ends without its orchestrator, in any of the ways there are."""
        rng = self.rng
        lasts = rng.uniform(0.2, 5.0)
        ready = rng.choice((None, 0.0, 0.2, 1.0))
        ways = ["ends well", "ends well", "crashes", "no image"]
        ways += ["kills itself"] if self.can.signals else []
        ways += ["is tried again", "is tried again", "never ready", "too long"] if version == 2 else []
        ways += ["by hand", "by hand"] if self.can.hands else []
        match rng.choice(ways):
            case "ends well":
                return ModelPlan(name, Fate((0,), lasts, ready=ready))
            case "crashes":
                return ModelPlan(name, Fate((self.code(),), lasts, ready=ready))
            case "kills itself":
                return ModelPlan(name, Fate((-rng.choice((6, 9, 11)),), lasts, ready=ready))
            case "no image":
                return ModelPlan(name, image=NO_IMAGE)
            case "is tried again":
                return self.tried_again(name)
            case "never ready":
                fate = Fate(ready=None, endless=True, on_term=rng.choice(tuple(OnTerm)[:2]))
                return ModelPlan(name, fate, ready_timeout=rng.uniform(1.5, 4.0))
            case "too long":
                return ModelPlan(name, Fate(ready=ready, endless=True), max_runtime=rng.uniform(1.5, 4.0))
            case _:
                fate = Fate((0,), lasts + 8.0, hand=rng.choice(tuple(Hand)), hand_after=rng.uniform(0.0, 3.0))
                return ModelPlan(name, fate)

    def tried_again(self, name: str) -> ModelPlan:
        retries = self.rng.randint(1, 3)
        failures = tuple(self.code() for _ in range(self.rng.randint(1, retries + 1)))
        codes = failures if len(failures) > retries else (*failures, 0)
        return ModelPlan(name, Fate(codes, self.rng.uniform(0.1, 1.5)), retries=retries)


def models_of(slots: Sequence[Slot]) -> list[ModelPlan]:
    return [model for slot in slots for run in slot for model in run.models]
