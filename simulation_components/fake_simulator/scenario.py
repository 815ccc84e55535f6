"""What a simulation orchestrator asks for, and what it must then hear. Pure; scenario_file reads YAML."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from enum import StrEnum

REASONS = (
    "Completed",
    "Error",
    "OOMKilled",
    "Evicted",
    "PodDeleted",
    "ImagePullFailed",
    "Unschedulable",
    "DeployFailed",
    "ReadyTimeout",
    "RuntimeExceeded",
    "NodeLost",
    "Stopped",
)
"""The words of ModelHasTerminated.reason (docs/protocol.md)."""

FAKE_IMAGE = "fake_model:0.0.1"
UNTIL_DONE = "until-done"


class ScenarioError(Exception):
    """A scenario that cannot be played; the message has one line for each thing that is wrong with it."""


class State(StrEnum):
    """How a model ended, in the words of the scenario format."""

    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"


class FailurePolicy(StrEnum):
    """What the failure of one model does to the others: DeployModels.failurePolicy."""

    KEEP_OTHERS = "KEEP_OTHERS"
    STOP_ALL = "STOP_ALL"


@dataclass(frozen=True, slots=True)
class Expectation:
    """How one model must end. None: any will do."""

    state: State = State.SUCCEEDED
    exit_code: int | None = None
    reason: str | None = None
    """Heard, and judged, in protocol version 2 only."""
    ready: bool | None = None
    """Whether it must have announced ReadyForProcessing."""
    log_contains: str | None = None
    """What one of its last log lines must contain; heard, and judged, in protocol version 2 only."""


@dataclass(frozen=True, slots=True)
class ScenarioModel:
    """One model to ask for. The seconds and retries are fields of version 2; 0 means unset."""

    id: str
    image: str = FAKE_IMAGE
    environment: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    """Added to what every model is told (who it is, where its broker is), and stronger than it."""
    expect: Expectation = Expectation(exit_code=0)
    ready_timeout_seconds: float = 0
    max_runtime_seconds: float = 0
    retries: int = 0

    def with_environment(self, name: str, value: str) -> "ScenarioModel":
        return replace(self, environment=(*((n, v) for n, v in self.environment if n != name), (name, value)))

    @property
    def run_seconds(self) -> float:
        """How long it means to work; 0 where it does not say, or says no number."""
        try:
            return float(dict(self.environment).get("RUN_SECONDS", 0))
        except ValueError:
            return 0


@dataclass(frozen=True, slots=True)
class Scenario:
    """One run of a simulation: the request, the steps to play, and what must be heard."""

    simulation: str
    models: tuple[ScenarioModel, ...]
    protocol_version: int = 2
    keep_logs_hours: float = 0
    failure_policy: FailurePolicy = FailurePolicy.KEEP_OTHERS
    steps: int = 0
    """More than 0: wait for ModelsReady, play this many steps with every model, then send SimulationDone."""
    models_ready: bool | None = None
    """Whether ModelsReady must come; None: it may, once."""
    rejected: bool = False
    """Whether the request as a whole must be refused."""

    @property
    def model_ids(self) -> tuple[str, ...]:
        return tuple(model.id for model in self.models)

    def with_run_seconds(self, seconds: float) -> "Scenario":
        """The same with RUN_SECONDS set for every model."""
        return replace(
            self, models=tuple(model.with_environment("RUN_SECONDS", f"{seconds:g}") for model in self.models)
        )

    def with_image(self, image: str) -> "Scenario":
        """The same with this image for every model."""
        return replace(self, models=tuple(replace(model, image=image) for model in self.models))

    def problems(self) -> Iterator[str]:
        """What keeps this scenario from being played in its protocol version."""
        if self.protocol_version > 1:
            return
        if self.failure_policy is not FailurePolicy.KEEP_OTHERS:
            yield "failurePolicy needs protocol version 2"
        for model in self.models:
            for name, value in (
                ("readyTimeoutSeconds", model.ready_timeout_seconds),
                ("maxRuntimeSeconds", model.max_runtime_seconds),
                ("retries", model.retries),
            ):
                if value:
                    yield f"{name} of {model.id} needs protocol version 2"


def succeeding(count: int) -> Scenario:
    """That many models, each of which becomes ready and succeeds."""
    expect = Expectation(exit_code=0, reason="Completed", ready=True)
    models = tuple(ScenarioModel(f"fake_model_{number}", expect=expect) for number in range(count))
    return Scenario("sim02-abc", models, models_ready=True)


def year(count: int, steps: int) -> Scenario:
    """That many models that work from ModelsReady, step by step, to SimulationDone."""
    models = tuple(model.with_environment("RUN_SECONDS", UNTIL_DONE) for model in succeeding(count).models)
    return Scenario("sim-year", models, steps=steps, models_ready=True)
