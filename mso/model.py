"""The nouns and the machine: ids, specifications, Model, State, Event, TRANSITIONS. Pure: values and one table."""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import Enum, StrEnum
from typing import NamedTuple, NewType

SimulatorName = NewType("SimulatorName", str)
"""The topic name of a simulation orchestrator: lower case, one level of a topic."""
SimulationId = NewType("SimulationId", str)
ModelId = NewType("ModelId", str)

NO_EXIT_CODE = -1
"""The exit code on the wire of a model of which no process ended: never created, vanished, or given up on."""


class RunKey(NamedTuple):
    """One run of a simulation. Ids of simulations come again, so nothing is ever keyed by the id alone."""

    simulation: SimulationId
    run: int

    def __str__(self) -> str:
        return f"{self.simulation}/{self.run}"


class ModelKey(NamedTuple):
    """One model of one run."""

    simulation: SimulationId
    run: int
    model: ModelId

    @property
    def run_key(self) -> RunKey:
        return RunKey(self.simulation, self.run)

    def __str__(self) -> str:
        return f"{self.simulation}/{self.run}/{self.model}"


class Attempt(NamedTuple):
    """One try at running a model, counted from 1. What a backplane runs is an attempt, and has its name."""

    key: ModelKey
    number: int

    def __str__(self) -> str:
        return f"{self.key}#{self.number}"


class State(Enum):
    """Where a model stands. RUNNING means that it announced ReadyForProcessing, not that its container started."""

    CREATED = "created"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"

    @property
    def terminal(self) -> bool:
        return self in (State.SUCCEEDED, State.FAILED)


class Reason(StrEnum):
    """Why a model ended, in the words of the wire (docs/protocol.md, ModelHasTerminated.reason)."""

    COMPLETED = "Completed"
    ERROR = "Error"
    OOM_KILLED = "OOMKilled"
    EVICTED = "Evicted"
    POD_DELETED = "PodDeleted"
    IMAGE_PULL_FAILED = "ImagePullFailed"
    UNSCHEDULABLE = "Unschedulable"
    DEPLOY_FAILED = "DeployFailed"
    READY_TIMEOUT = "ReadyTimeout"
    RUNTIME_EXCEEDED = "RuntimeExceeded"
    NODE_LOST = "NodeLost"
    STOPPED = "Stopped"


class Mark(StrEnum):
    """What is written on a run where its models run, so that a new process knows it without a ledger."""

    READY = "ready"
    """Every model was ready: set before ModelsReady is sent."""
    STOPPING = "stopping"
    """The run is being stopped: set before SimulationDone is acknowledged."""
    REPORTED = "reported"
    """AllModelsHaveTerminated was acknowledged by the broker: there is nothing more to tell."""


class FailurePolicy(Enum):
    """What the failure of one model does to the others of its run."""

    KEEP_OTHERS = "keep-others"
    STOP_ALL = "stop-all"


@dataclass(frozen=True, slots=True)
class EnvironmentVariable:
    """A variable of a model's environment; its value may be a secret, so it is never shown."""

    name: str
    value: str = field(repr=False)
    secret_name: str = ""
    secret_key: str = ""


@dataclass(frozen=True, slots=True)
class Resources:
    """What a model asks of the machine that runs it, in Kubernetes quantities (`500m`, `2Gi`); empty means unset."""

    cpu_request: str = ""
    memory_request: str = ""
    cpu_limit: str = ""
    memory_limit: str = ""
    gpus: int = 0


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """What was asked for: everything that makes two models of one id the same model, or not."""

    model: ModelId
    image: str
    environment: tuple[EnvironmentVariable, ...] = ()
    resources: Resources | None = None
    ready_timeout: timedelta | None = None
    max_runtime: timedelta | None = None
    retries: int = 0
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    type: str = ""
    version: str = ""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """Which optional wishes of a model a backplane grants. What it lacks is refused by name, but resources."""

    command: bool = False
    resources: bool = False
    secrets: bool = False


@dataclass(frozen=True, slots=True)
class Request:
    """Who asked for models, in which protocol, and on which terms: one DeployModels without its models."""

    simulator: SimulatorName
    simulation: SimulationId
    simulator_id: str = ""
    protocol_version: int = 1
    keep_logs: timedelta = timedelta(0)
    failure_policy: FailurePolicy = FailurePolicy.KEEP_OTHERS
    more_to_come: bool = False
    request_id: str = ""
    digest: str = ""
    """Of the payload: tells a redelivery from a rerun."""


@dataclass(frozen=True, slots=True)
class Order:
    """One DeployModels as it arrived. `redelivered` is the broker's word that it may have delivered it before."""

    request: Request
    models: tuple[ModelSpec, ...]
    redelivered: bool = False
    delivery: int = 0
    """The packet identifier, which the broker keeps when it delivers a message again; 0 where there is none."""


@dataclass(frozen=True, slots=True)
class Ready:
    """The model announced ReadyForProcessing."""


@dataclass(frozen=True, slots=True)
class Succeeded:
    """The model ended by itself with exit code 0."""

    started_at: datetime | None = None
    finished_at: datetime | None = None
    node: str = ""
    """The machine that it ran on, where the backplane has several."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The model ended in any other way, or will never begin."""

    exit_code: int
    reason: Reason
    message: str = ""
    started_at: datetime | None = None
    finished_at: datetime | None = None
    node: str = ""


@dataclass(frozen=True, slots=True)
class Retry:
    """An attempt failed and another one is left."""

    cause: Failed


End = Succeeded | Failed
Event = Ready | Succeeded | Failed | Retry

TRANSITIONS: dict[State, dict[type[Event], State]] = {
    State.CREATED: {
        Ready: State.RUNNING,
        Succeeded: State.SUCCEEDED,
        Failed: State.FAILED,
        Retry: State.CREATED,
    },
    State.RUNNING: {Succeeded: State.SUCCEEDED, Failed: State.FAILED, Retry: State.CREATED},
    # Terminal states absorb: a late Ready revives nothing, and the first end that was seen is the truth.
    State.SUCCEEDED: {},
    State.FAILED: {},
}


@dataclass(frozen=True, slots=True)
class Model:
    """One model of one run, as far as it is known."""

    key: ModelKey
    spec: ModelSpec
    request: Request
    created_at: datetime
    since: datetime
    """When the present state began."""
    state: State = State.CREATED
    attempt: int = 1
    ready: bool = False
    """Whether this attempt announced ReadyForProcessing; stays true when it then ends."""
    exit_code: int | None = None
    reason: Reason | None = None
    message: str = ""
    started_at: datetime | None = None
    finished_at: datetime | None = None
    node: str = ""
    """The machine that the attempt which ended ran on; empty where the backplane has but one, or nothing ran."""

    @property
    def current(self) -> Attempt:
        return Attempt(self.key, self.attempt)

    def after(self, event: Event, now: datetime) -> "Model":
        """The model as the event leaves it. Raises KeyError where the table has no such transition."""
        state = TRANSITIONS[self.state][type(event)]
        match event:
            case Ready():
                return replace(self, state=state, since=now, ready=True)
            case Retry():
                # Another attempt boots anew: what its predecessor announced is not true of it.
                return replace(self, state=state, since=now, ready=False, attempt=self.attempt + 1)
            case Succeeded():
                return replace(
                    self,
                    state=state,
                    since=now,
                    exit_code=0,
                    reason=Reason.COMPLETED,
                    started_at=event.started_at,
                    finished_at=event.finished_at or now,
                    node=event.node,
                )
            case Failed():
                return replace(
                    self,
                    state=state,
                    since=now,
                    exit_code=event.exit_code or NO_EXIT_CODE,
                    reason=event.reason,
                    message=event.message,
                    started_at=event.started_at,
                    finished_at=event.finished_at or now,
                    node=event.node,
                )
