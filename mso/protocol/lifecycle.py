"""Lifecycle messages: DeployModels to an Order, and what became of models to bytes (docs/protocol.md).

A number or a field that cannot be honoured is never half understood: it is refused by name, or, where an old peer could
not read the refusal, brought into bounds with a warning.
"""

import hashlib
import math
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from google.protobuf.message import DecodeError

from mso.inventory import Rejected
from mso.model import (
    NO_EXIT_CODE,
    Capabilities,
    EnvironmentVariable,
    FailurePolicy,
    Model,
    ModelId,
    ModelSpec,
    Order,
    Request,
    Resources,
    State,
)
from mso.protocol import MAX_VERSION, MIN_VERSION
from mso.protocol.messages import healthcheck_pb2, lifecycle_pb2
from mso.protocol.topics import DeployModels, is_legal_id

KEEP_LOGS_AT_MOST = timedelta(days=366)
TIMEOUT_AT_MOST = timedelta(days=366)
RETRIES_AT_MOST = 100
LOG_BYTES_AT_MOST = 64 * 1024
"""Of all log lines in one ModelHasTerminated, in utf-8."""
TEXT_BYTES_AT_MOST = 4 * 1024
SLICE = 250
"""Models that are decoded at one go: some ten milliseconds."""

_FIRST_FIELD_OF_VERSION_2 = {"DeployModels": 4, "ModelConfiguration": 4, "EnvironmentVariable": 3}
_FAILURE_POLICIES = {
    lifecycle_pb2.KEEP_OTHERS: FailurePolicy.KEEP_OTHERS,
    lifecycle_pb2.STOP_ALL: FailurePolicy.STOP_ALL,
}


class Undecodable(ValueError):
    """The payload is no message of the type that its topic promises."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """An order, and what was let pass in it although it cannot be honoured to the letter; no warning shows a value."""

    order: Order
    warnings: tuple[str, ...]


def decoding(
    address: DeployModels, payload: bytes, *, redelivered: bool, delivery: int = 0, capabilities: Capabilities
) -> Generator[None, None, Decoded]:
    """A DeployModels, decoded in slices: between two of them it yields, and at its end it returns.

    Raises Undecodable, and Rejected with one error for each thing that cannot be taken.
    """
    message = lifecycle_pb2.DeployModels()
    try:
        message.ParseFromString(payload)
    except DecodeError as exc:
        raise Undecodable("the payload is no DeployModels") from exc
    if message.protocolVersion > MAX_VERSION:
        raise Rejected(
            "the request is of a newer protocol",
            [f"protocolVersion {message.protocolVersion}: this MSO speaks {MIN_VERSION} to {MAX_VERSION}"],
        )
    version = max(message.protocolVersion, MIN_VERSION)
    reading = _Reading(version, capabilities)
    request = reading.request(address, message, hashlib.sha256(payload).hexdigest()[:32])
    models = yield from reading.models(message.modelConfigurations)
    if reading.errors:
        raise Rejected("the request cannot be taken", reading.errors)
    return Decoded(Order(request, models, redelivered, delivery), tuple(reading.warnings))


class _Reading:
    """One pass over one DeployModels that collects all that is wrong with it."""

    def __init__(self, version: int, capabilities: Capabilities) -> None:
        self.version = version
        self.capabilities = capabilities
        self.errors: list[str] = []
        self.warnings: list[str] = []

    def request(self, address: DeployModels, message: lifecycle_pb2.DeployModels, digest: str) -> Request:
        if not is_legal_id(address.simulation):
            self.errors.append("the id of the simulation is longer than 256 characters, or has control characters")
        self._strip_newer_fields(message, "DeployModels")
        policy = _FAILURE_POLICIES.get(message.failurePolicy)
        if policy is None:
            self.errors.append(f"failurePolicy: no policy has the number {message.failurePolicy}")
        return Request(
            simulator=address.simulator,
            simulation=address.simulation,
            simulator_id=message.simulatorId,
            protocol_version=self.version,
            keep_logs=self._keep_logs(message.keepLogsHours),
            failure_policy=policy or FailurePolicy.KEEP_OTHERS,
            more_to_come=message.moreToCome,
            request_id=message.requestId,
            digest=digest,
        )

    def models(
        self, configurations: Sequence[lifecycle_pb2.ModelConfiguration]
    ) -> Generator[None, None, tuple[ModelSpec, ...]]:
        if not configurations:
            self.errors.append("modelConfigurations: no models")
        seen: set[str] = set()
        models = []
        for index, configuration in enumerate(configurations):
            if index % SLICE == 0:
                yield
            self._check_id(index, configuration.modelID, seen)
            models.append(self._model(configuration))
        return tuple(models)

    def _check_id(self, index: int, model: str, seen: set[str]) -> None:
        if not is_legal_id(model):
            self.errors.append(
                f"modelConfigurations[{index}].modelID: {model[:80]!r} is no id: it must have 1 to 256 characters, "
                "and no '/', '+', '#' or control character"
            )
        elif model in seen:
            self.errors.append(f"modelConfigurations[{index}].modelID: {model!r} is there twice")
        seen.add(model)

    def _model(self, configuration: lifecycle_pb2.ModelConfiguration) -> ModelSpec:
        where = f"model {configuration.modelID[:80]!r}"
        self._strip_newer_fields(configuration, where)
        for lacking, wished in (
            ("healthCheck", configuration.healthCheck),
            ("modelType", bool(configuration.modelType) and not configuration.imageUrl),
            ("command", bool(configuration.command) and not self.capabilities.command),
            ("args", bool(configuration.args) and not self.capabilities.command),
        ):
            if wished:
                hint = ": imageUrl must be set, for there is no model registry yet" if lacking == "modelType" else ""
                self.errors.append(f"{where}: {lacking} is not supported here{hint}")
        resources = None
        if configuration.HasField("resources"):
            asked = configuration.resources
            resources = Resources(asked.cpuRequest, asked.memoryRequest, asked.cpuLimit, asked.memoryLimit, asked.gpus)
            if not self.capabilities.resources:
                self.warnings.append(f"{where}: resources are not enforced here")
        if configuration.retries > RETRIES_AT_MOST:
            self.errors.append(f"{where}: retries: {configuration.retries} is more than {RETRIES_AT_MOST}")
        return ModelSpec(
            model=ModelId(configuration.modelID),
            image=configuration.imageUrl,
            environment=self._environment(where, configuration.environmentVariables),
            resources=resources,
            ready_timeout=self._span(f"{where}: readyTimeoutSeconds", configuration.readyTimeoutSeconds),
            max_runtime=self._span(f"{where}: maxRuntimeSeconds", configuration.maxRuntimeSeconds),
            retries=configuration.retries,
            command=tuple(configuration.command),
            args=tuple(configuration.args),
            type=configuration.modelType,
            version=configuration.modelVersion,
        )

    def _environment(
        self, where: str, variables: Iterable[lifecycle_pb2.EnvironmentVariable]
    ) -> tuple[EnvironmentVariable, ...]:
        environment: dict[str, EnvironmentVariable] = {}
        for variable in variables:
            self._strip_newer_fields(variable, f"{where}: variable {variable.name[:80]!r}")
            if (variable.secretName or variable.secretKey) and not self.capabilities.secrets:
                self.errors.append(f"{where}: variable {variable.name[:80]!r}: secretName is not supported here")
            if variable.name in environment:
                self.warnings.append(f"{where}: variable {variable.name[:80]!r} is there twice, the last one counts")
            environment[variable.name] = EnvironmentVariable(
                variable.name, variable.value, variable.secretName, variable.secretKey
            )
        return tuple(environment.values())

    def _strip_newer_fields(
        self,
        message: lifecycle_pb2.DeployModels | lifecycle_pb2.ModelConfiguration | lifecycle_pb2.EnvironmentVariable,
        where: str,
    ) -> None:
        """A peer that speaks version 1 gets version 1: what later versions added does nothing, and says so."""
        if self.version > 1:
            return
        first = _FIRST_FIELD_OF_VERSION_2[message.DESCRIPTOR.name]
        for field, _ in message.ListFields():
            if field.number >= first and field.name != "protocolVersion":
                message.ClearField(field.name)
                self.warnings.append(f"{where}: {field.name} is ignored: it needs protocolVersion 2")

    def _keep_logs(self, hours: float) -> timedelta:
        """Brought into bounds rather than refused: a version-1 peer would wait for ever for the answer to a refusal."""
        if math.isnan(hours) or hours < 0:
            self.warnings.append("keepLogsHours is not a number of hours: logs are not kept")
            return timedelta(0)
        if hours > KEEP_LOGS_AT_MOST / timedelta(hours=1):
            self.warnings.append(f"keepLogsHours is too large: logs are kept for {KEEP_LOGS_AT_MOST.days} days")
            return KEEP_LOGS_AT_MOST
        return timedelta(hours=hours)

    def _span(self, what: str, seconds: float) -> timedelta | None:
        if not 0 <= seconds <= TIMEOUT_AT_MOST.total_seconds():  # NaN is neither
            self.errors.append(f"{what}: must be between 0 and {TIMEOUT_AT_MOST.total_seconds():.0f}")
            return None
        return max(timedelta(seconds=seconds), timedelta.resolution) if seconds else None


def check_ready_for_processing(payload: bytes) -> None:
    """Raises Undecodable. A correct one is empty, but a newer peer may have added fields."""
    _check(lifecycle_pb2.ReadyForProcessing(), payload)


def check_simulation_done(payload: bytes) -> None:
    """Raises Undecodable."""
    _check(lifecycle_pb2.SimulationDone(), payload)


def _check(message: lifecycle_pb2.ReadyForProcessing | lifecycle_pb2.SimulationDone, payload: bytes) -> None:
    try:
        message.ParseFromString(payload)
    except DecodeError as exc:
        raise Undecodable(f"the payload is no {message.DESCRIPTOR.name}") from exc


def simulation_done() -> bytes:
    return lifecycle_pb2.SimulationDone().SerializeToString()


def models_ready() -> bytes:
    return lifecycle_pb2.ModelsReady().SerializeToString()


def all_models_have_terminated() -> bytes:
    return lifecycle_pb2.AllModelsHaveTerminated().SerializeToString()


def model_has_terminated(model: Model, last_lines: Iterable[str] = (), warnings: Iterable[str] = ()) -> bytes:
    """The end of a model, in the version in which it was asked for; warnings of the backplane stand in the message."""
    code = NO_EXIT_CODE if model.exit_code is None else model.exit_code
    message = lifecycle_pb2.ModelHasTerminated(
        status=lifecycle_pb2.SUCCESSFULL if model.state is State.SUCCEEDED else lifecycle_pb2.FAILED,
        exitCode=max(-(2**31), min(code, 2**31 - 1)),
    )
    if model.request.protocol_version > 1:
        message.reason = model.reason or ""
        message.message = _cut("\n".join(filter(None, (model.message, *warnings))), TEXT_BYTES_AT_MOST)
        message.lastLogLines.extend(fit(last_lines, LOG_BYTES_AT_MOST))
        message.attempt = model.attempt
        if model.started_at:
            message.startedAt.FromDatetime(model.started_at)
        if model.finished_at:
            message.finishedAt.FromDatetime(model.finished_at)
    return message.SerializeToString()


def error_occurred(model: Model) -> bytes:
    """The one message of a failure that simulation orchestrators of version 1 obey: they end with its text."""
    text = f"model {model.key.model} failed: {model.reason}, exit code {model.exit_code}"
    if model.message:
        text = f"{text}: {model.message}"
    return lifecycle_pb2.ErrorOccurred(error_message=_cut(text, TEXT_BYTES_AT_MOST)).SerializeToString()


def deploy_models_rejected(rejected: Rejected) -> bytes:
    return lifecycle_pb2.DeployModelsRejected(
        reason=_cut(rejected.reason, TEXT_BYTES_AT_MOST),
        errors=[_cut(error, TEXT_BYTES_AT_MOST) for error in rejected.errors[:100]],
        minProtocolVersion=MIN_VERSION,
        maxProtocolVersion=MAX_VERSION,
    ).SerializeToString()


def mso_status(*, online: bool, software_version: str) -> bytes:
    """The retained presence. Never empty, also when offline: an empty retained payload would clear it."""
    return healthcheck_pb2.MsoStatus(
        online=online,
        minProtocolVersion=MIN_VERSION,
        maxProtocolVersion=MAX_VERSION,
        softwareVersion=software_version,
    ).SerializeToString()


def fit(lines: Iterable[str], limit: int) -> list[str]:
    """As many of the last lines as fit into `limit` bytes of utf-8; a line that alone is longer keeps its end."""
    kept: list[str] = []
    room = limit
    for line in reversed(list(lines)):
        encoded = line.encode(errors="replace")
        if len(encoded) > room:
            if not kept:
                kept.append(encoded[-limit:].decode(errors="ignore"))
            break
        kept.append(encoded.decode())
        room -= len(encoded)
    return kept[::-1]


def _cut(text: str, limit: int) -> str:
    return text.encode(errors="replace")[:limit].decode(errors="ignore")
