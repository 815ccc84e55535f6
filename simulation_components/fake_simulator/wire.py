"""Topics and payloads between a simulation orchestrator, MSO and the models (docs/protocol.md). Pure."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from google.protobuf.message import DecodeError

from fake_simulator.scenario import FailurePolicy, Scenario, ScenarioModel, State
from mso.protocol.messages import healthcheck_pb2, lifecycle_pb2

STATES = {lifecycle_pb2.SUCCESSFULL: State.SUCCEEDED, lifecycle_pb2.FAILED: State.FAILED}
POLICIES = {
    FailurePolicy.KEEP_OTHERS: lifecycle_pb2.KEEP_OTHERS,
    FailurePolicy.STOP_ALL: lifecycle_pb2.STOP_ALL,
}
VERSION_1_FIELDS = ("status", "exitCode")
ABOUT_A_MODEL = ("ModelHasTerminated", "UnhealthyModel", "ErrorOccurred")


@dataclass(frozen=True, slots=True)
class Credentials:
    """Where the broker is, and who may talk to it: for this orchestrator, or for its models."""

    host: str
    port: int
    username: str
    password: str = field(repr=False)
    tls_ca_file: str = ""
    """Empty: without TLS."""

    def variables(self) -> dict[str, str]:
        """As a model wants them in its environment."""
        variables = {
            "MQTT_HOST": self.host,
            "MQTT_PORT": str(self.port),
            "MQTT_USERNAME": self.username,
            "MQTT_PASSWORD": self.password,
        }
        return {**variables, "MQTT_TLS_CA_FILE": self.tls_ca_file} if self.tls_ca_file else variables


@dataclass(frozen=True, slots=True)
class Termination:
    """What a ModelHasTerminated says; all but the first two is empty in version 1."""

    state: State
    exit_code: int
    reason: str = ""
    message: str = ""
    last_log_lines: tuple[str, ...] = ()
    started_at: str = ""
    """ISO 8601, UTC."""
    finished_at: str = ""
    attempt: int = 0
    version_2_fields: tuple[str, ...] = ()
    """Which fields were on the wire that version 1 does not have."""


@dataclass(frozen=True, slots=True)
class Received:
    """One message from MSO about this simulation."""

    name: str
    model: str = ""
    """Empty for a message about the whole simulation."""
    termination: Termination | None = None
    text: str = ""
    """What the message says in words: a rejection, an error, why a model is unhealthy."""
    problem: str = ""
    """Why it cannot be read."""
    retained: bool = False
    after: float = 0.0
    """Seconds since DeployModels was sent."""


@dataclass(frozen=True, slots=True)
class Announced:
    """ReadyForProcessing, overheard: it is sent by the model, to MSO."""

    model: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model says to this orchestrator."""

    model: str
    name: str
    text: str = ""


@dataclass(frozen=True, slots=True)
class MsoStatus:
    """Whether an MSO serves this orchestrator."""

    online: bool


Heard = Received | Announced | Answer | MsoStatus


@dataclass(frozen=True, slots=True)
class Topics:
    """Every topic of one simulation of one orchestrator."""

    simulator: str
    simulation: str

    def subscriptions(self, scenario: Scenario) -> Iterator[str]:
        yield f"/lifecycle/mso/{self.simulator}/{self.simulation}/#"
        yield f"/lifecycle/model/mso/{self.simulation}/+/ReadyForProcessing"
        if scenario.protocol_version > 1:
            yield f"/healthcheck/mso/{self.simulator}/Status"
        if scenario.steps:
            yield f"/lifecycle/model/{self.simulator}/{self.simulation}/+/+"

    def to_mso(self, name: str) -> str:
        return f"/lifecycle/{self.simulator}/mso/{self.simulation}/{name}"

    def to_model(self, model: str, name: str) -> str:
        return f"/lifecycle/{self.simulator}/model/{self.simulation}/{model}/{name}"


def deploy_models(scenario: Scenario, simulator: str, credentials: Credentials) -> bytes:
    """DeployModels, with the credentials that the models are to use: as in the field, passwords. Never log it."""
    request = lifecycle_pb2.DeployModels(simulatorId=f"{simulator}-0", keepLogsHours=scenario.keep_logs_hours)
    for model in scenario.models:
        configuration = request.modelConfigurations.add(
            modelID=model.id,
            imageUrl=model.image,
            readyTimeoutSeconds=model.ready_timeout_seconds,
            maxRuntimeSeconds=model.max_runtime_seconds,
            retries=model.retries,
        )
        for name, value in _environment(model, scenario, simulator, credentials).items():
            configuration.environmentVariables.add(name=name, value=value)
    if scenario.protocol_version > 1:
        request.protocolVersion = scenario.protocol_version
        request.failurePolicy = POLICIES[scenario.failure_policy]
    return request.SerializeToString()


def _environment(model: ScenarioModel, scenario: Scenario, simulator: str, credentials: Credentials) -> dict[str, str]:
    return {
        "SIMULATION_ID": scenario.simulation,
        "MODEL_ID": model.id,
        **credentials.variables(),
        "SIMULATOR_NAME": simulator,
        **dict(model.environment),
    }


def decode(topic: str, payload: bytes, *, retained: bool = False, after: float = 0.0) -> Heard:
    """What a message says; one that cannot be read is a Received that says so, for the judge: nothing is raised."""
    levels = topic.split("/")[1:]
    try:
        match levels:
            case ["healthcheck", "mso", _, "Status"]:
                return MsoStatus(healthcheck_pb2.MsoStatus.FromString(payload).online)
            case ["lifecycle", "model", "mso", _, model, "ReadyForProcessing"]:
                return Announced(model)
            case ["lifecycle", "model", _, _, model, name]:
                return Answer(model, name, _error(payload) if name == "ErrorOccurred" else "")
            case ["lifecycle", "mso", _, _, model, name] if name in ABOUT_A_MODEL:
                termination = _termination(payload) if name == "ModelHasTerminated" else None
                text = _unhealthy(payload) if name == "UnhealthyModel" else ""
                text = _error(payload) if name == "ErrorOccurred" else text
                return Received(name, model, termination, text, retained=retained, after=after)
            case ["lifecycle", "mso", _, _, "DeployModelsRejected" as name]:
                return Received(name, text=_rejection(payload), retained=retained, after=after)
            case ["lifecycle", "mso", _, _, "ModelsReady" | "AllModelsHaveTerminated" as name]:
                if payload:
                    raise ValueError(f"{len(payload)} bytes, and it has no fields")
                return Received(name, retained=retained, after=after)
            case _:
                raise ValueError(f"{topic} is no topic of the protocol")
    except (DecodeError, ValueError) as error:
        model = levels[4] if len(levels) == 6 else ""
        return Received(levels[-1], model, problem=f"cannot be read: {error}", retained=retained, after=after)


def _error(payload: bytes) -> str:
    return lifecycle_pb2.ErrorOccurred.FromString(payload).error_message


def _unhealthy(payload: bytes) -> str:
    message = lifecycle_pb2.UnhealthyModel.FromString(payload)
    return "; ".join((lifecycle_pb2.UnhealthyModelStatus.Name(message.status), *message.reasons))


def _rejection(payload: bytes) -> str:
    message = lifecycle_pb2.DeployModelsRejected.FromString(payload)
    return "; ".join((message.reason, *message.errors))


def _termination(payload: bytes) -> Termination:
    message = lifecycle_pb2.ModelHasTerminated.FromString(payload)
    if message.status not in STATES:
        raise ValueError(f"status {message.status} is unknown")
    present = [field.name for field, _ in message.ListFields()]
    return Termination(
        state=STATES[message.status],
        exit_code=message.exitCode,
        reason=message.reason,
        message=message.message,
        last_log_lines=tuple(message.lastLogLines),
        started_at=message.startedAt.ToJsonString() if message.HasField("startedAt") else "",
        finished_at=message.finishedAt.ToJsonString() if message.HasField("finishedAt") else "",
        attempt=message.attempt,
        version_2_fields=tuple(name for name in present if name not in VERSION_1_FIELDS),
    )
