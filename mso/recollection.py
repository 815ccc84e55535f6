"""A Model as text and back: what outlives the process, beside an attempt and in the ledger. Pure.

The text names its format; a reader refuses one that it does not know rather than understand it by half. Spans are whole
microseconds, so that the digest of a specification is the same before and after. Values of environment variables are
part of the digest and of a redelivered request, so they are kept: whoever stores the text keeps it from other people.
"""

import json
from datetime import datetime, timedelta
from functools import lru_cache

import msgspec

from mso.model import (
    EnvironmentVariable,
    FailurePolicy,
    Model,
    ModelId,
    ModelKey,
    ModelSpec,
    Request,
    Resources,
    SimulationId,
    SimulatorName,
)

FORMAT = 1

_MICROSECOND = timedelta(microseconds=1)


class UnreadableModelError(ValueError):
    """The text is damaged, or of a format that this release does not know."""


def encode(model: Model) -> str:
    """The model as it was asked for, and the number of its attempt; its state is not remembered but observed."""
    spec, request = model.spec, model.request
    return json.dumps(
        {
            "format": FORMAT,
            "simulation": model.key.simulation,
            "run": model.key.run,
            "model": model.key.model,
            "attempt": model.attempt,
            "createdAt": model.created_at.isoformat(),
            "since": model.since.isoformat(),
            "spec": {
                "image": spec.image,
                "environment": [[one.name, one.value, one.secret_name, one.secret_key] for one in spec.environment],
                "resources": spec.resources and _encode_resources(spec.resources),
                "readyTimeout": _microseconds(spec.ready_timeout),
                "maxRuntime": _microseconds(spec.max_runtime),
                "retries": spec.retries,
                "command": spec.command,
                "args": spec.args,
                "type": spec.type,
                "version": spec.version,
            },
            "request": {
                "simulator": request.simulator,
                "simulatorId": request.simulator_id,
                "protocolVersion": request.protocol_version,
                "keepLogs": _microseconds(request.keep_logs),
                "failurePolicy": request.failure_policy.value,
                "moreToCome": request.more_to_come,
                "requestId": request.request_id,
                "digest": request.digest,
            },
        }
    )


def decode(text: str) -> Model:
    """Raises UnreadableModelError."""
    try:
        written_as = _FORMAT.decode(text).format
        if written_as != FORMAT:
            raise UnreadableModelError(f"format {written_as!r}: this release reads {FORMAT}")
        return _model(_DOCUMENT.decode(text))
    except UnreadableModelError:
        raise
    except ValueError as error:
        raise UnreadableModelError(f"damaged: {error!r}") from error


# The types are checked as they are read, and fields that are not named here are passed over. When a new process adopts
# what runs it reads ten thousand of these texts: this way takes two thirds of what json and look-ups by name do.


class _Format(msgspec.Struct):
    format: object


class _Resources(msgspec.Struct, rename="camel"):
    cpu_request: str
    memory_request: str
    cpu_limit: str
    memory_limit: str
    gpus: int


class _Spec(msgspec.Struct, rename="camel"):
    image: str
    environment: list[tuple[str, str, str, str]]
    resources: _Resources | None
    ready_timeout: int | None
    max_runtime: int | None
    retries: int
    command: tuple[str, ...]
    args: tuple[str, ...]
    type: str
    version: str


class _Request(msgspec.Struct, rename="camel"):
    simulator: str
    simulator_id: str
    protocol_version: int
    keep_logs: int
    failure_policy: FailurePolicy
    more_to_come: bool
    request_id: str
    digest: str


class _Document(msgspec.Struct, rename="camel"):
    simulation: str
    run: int
    model: str
    attempt: int
    created_at: str
    since: str
    spec: _Spec
    request: msgspec.Raw


_FORMAT = msgspec.json.Decoder(_Format)
_DOCUMENT = msgspec.json.Decoder(_Document)
_REQUEST = msgspec.json.Decoder(_Request)


def _model(document: _Document) -> Model:
    spec = document.spec
    key = ModelKey(SimulationId(document.simulation), document.run, ModelId(document.model))
    return Model(
        key=key,
        spec=ModelSpec(
            model=key.model,
            image=spec.image,
            environment=tuple([EnvironmentVariable(*fields) for fields in spec.environment]),
            resources=None if spec.resources is None else _decode_resources(spec.resources),
            ready_timeout=_span(spec.ready_timeout),
            max_runtime=_span(spec.max_runtime),
            retries=spec.retries,
            command=spec.command,
            args=spec.args,
            type=spec.type,
            version=spec.version,
        ),
        request=_request(key.simulation, bytes(document.request)),
        created_at=datetime.fromisoformat(document.created_at),
        since=datetime.fromisoformat(document.since),
        attempt=document.attempt,
    )


@lru_cache(maxsize=64)  # models of one run share it
def _request(simulation: SimulationId, text: bytes) -> Request:
    request = _REQUEST.decode(text)
    return Request(
        simulator=SimulatorName(request.simulator),
        simulation=simulation,
        simulator_id=request.simulator_id,
        protocol_version=request.protocol_version,
        keep_logs=request.keep_logs * _MICROSECOND,
        failure_policy=request.failure_policy,
        more_to_come=request.more_to_come,
        request_id=request.request_id,
        digest=request.digest,
    )


def _encode_resources(resources: Resources) -> dict[str, str | int]:
    return {
        "cpuRequest": resources.cpu_request,
        "memoryRequest": resources.memory_request,
        "cpuLimit": resources.cpu_limit,
        "memoryLimit": resources.memory_limit,
        "gpus": resources.gpus,
    }


def _decode_resources(fields: _Resources) -> Resources:
    return Resources(fields.cpu_request, fields.memory_request, fields.cpu_limit, fields.memory_limit, fields.gpus)


def _microseconds(span: timedelta | None) -> int | None:
    return None if span is None else span // _MICROSECOND


def _span(microseconds: int | None) -> timedelta | None:
    return None if microseconds is None else microseconds * _MICROSECOND
