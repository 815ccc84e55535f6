"""Changes: what a fact altered, as the inventory tells it to its observers. Pure values."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from mso.model import Event, Mark, Model, ModelKey, Request, RunKey


@dataclass(frozen=True, slots=True)
class SimulationAdded:
    """A run was opened by an order."""

    run: RunKey
    request: Request
    models: int
    delivery: int = 0


@dataclass(frozen=True, slots=True)
class SimulationExtended:
    """A further request for a live run was taken, or one `again`; what it adds is told by Changes of its own."""

    run: RunKey
    request: Request
    delivery: int = 0
    again: bool = False


@dataclass(frozen=True, slots=True)
class SimulationRestored:
    """A run is known again, from what an earlier process wrote down."""

    run: RunKey
    request: Request
    models: int
    living: int


@dataclass(frozen=True, slots=True)
class SimulationAdopted:
    """A run was found where models run, and is followed from here on."""

    run: RunKey
    request: Request
    models: int
    living: int
    marks: frozenset[Mark]
    alive: tuple[ModelKey, ...] = ()
    """Those that live of the models that were found."""


@dataclass(frozen=True, slots=True)
class ModelAdded:
    """A model was asked for and wants to be deployed."""

    model: Model


@dataclass(frozen=True, slots=True)
class ModelChanged:
    """An event altered a model: its state, or with Retry its attempt."""

    before: Model
    model: Model
    event: Event


@dataclass(frozen=True, slots=True)
class SimulationReady:
    """Every model of the run was ready and none has failed; once a run."""

    run: RunKey
    request: Request


@dataclass(frozen=True, slots=True)
class SimulationStopping:
    """The run is to end: its models have the grace to do so by themselves."""

    run: RunKey
    request: Request
    why: str


@dataclass(frozen=True, slots=True)
class SimulationRemoving:
    """The grace of a run that is to end is over: what lives of it is removed."""

    run: RunKey


@dataclass(frozen=True, slots=True)
class SimulationEnded:
    """The last model of the run ended; once a run."""

    run: RunKey
    request: Request
    ended_at: datetime


@dataclass(frozen=True, slots=True)
class SimulationReported:
    """The broker has acknowledged all that was to be told of the run; once a run."""

    run: RunKey


@dataclass(frozen=True, slots=True)
class ModelRemoved:
    """Nothing of the model is left."""

    model: Model


@dataclass(frozen=True, slots=True)
class SimulationForgotten:
    """Nothing of the run is left where models run."""

    run: RunKey


Change = (
    SimulationAdded
    | SimulationExtended
    | SimulationRestored
    | SimulationAdopted
    | ModelAdded
    | ModelChanged
    | SimulationReady
    | SimulationStopping
    | SimulationRemoving
    | SimulationEnded
    | SimulationReported
    | ModelRemoved
    | SimulationForgotten
)
Observer = Callable[[Change], None]
