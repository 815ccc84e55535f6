"""A Model as text and back: what outlives the process, beside an attempt and in the ledger. Pure.

The text names its format; a reader refuses one that it does not know rather than understand it by half. Spans are whole
microseconds, so that the digest of a specification is the same before and after. Values of environment variables are
part of the digest and of a redelivered request, so they are kept: whoever stores the text keeps it from other people.
"""

import json
from datetime import datetime, timedelta
from typing import Any

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
        document = json.loads(text)
        if document["format"] != FORMAT:
            raise UnreadableModelError(f"format {document['format']!r}: this release reads {FORMAT}")
        return _decode(document)
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, UnreadableModelError):
            raise
        raise UnreadableModelError(f"damaged: {error!r}") from error


def _decode(document: Any) -> Model:
    spec, request = document["spec"], document["request"]
    key = ModelKey(SimulationId(document["simulation"]), document["run"], ModelId(document["model"]))
    return Model(
        key=key,
        spec=ModelSpec(
            model=key.model,
            image=spec["image"],
            environment=tuple(EnvironmentVariable(*fields) for fields in spec["environment"]),
            resources=spec["resources"] and _decode_resources(spec["resources"]),
            ready_timeout=_span(spec["readyTimeout"]),
            max_runtime=_span(spec["maxRuntime"]),
            retries=spec["retries"],
            command=tuple(spec["command"]),
            args=tuple(spec["args"]),
            type=spec["type"],
            version=spec["version"],
        ),
        request=Request(
            simulator=SimulatorName(request["simulator"]),
            simulation=key.simulation,
            simulator_id=request["simulatorId"],
            protocol_version=request["protocolVersion"],
            keep_logs=request["keepLogs"] * _MICROSECOND,
            failure_policy=FailurePolicy(request["failurePolicy"]),
            more_to_come=request["moreToCome"],
            request_id=request["requestId"],
            digest=request["digest"],
        ),
        created_at=datetime.fromisoformat(document["createdAt"]),
        since=datetime.fromisoformat(document["since"]),
        attempt=document["attempt"],
    )


def _encode_resources(resources: Resources) -> dict[str, str | int]:
    return {
        "cpuRequest": resources.cpu_request,
        "memoryRequest": resources.memory_request,
        "cpuLimit": resources.cpu_limit,
        "memoryLimit": resources.memory_limit,
        "gpus": resources.gpus,
    }


def _decode_resources(fields: Any) -> Resources:
    return Resources(
        cpu_request=fields["cpuRequest"],
        memory_request=fields["memoryRequest"],
        cpu_limit=fields["cpuLimit"],
        memory_limit=fields["memoryLimit"],
        gpus=fields["gpus"],
    )


def _microseconds(span: timedelta | None) -> int | None:
    return None if span is None else span // _MICROSECOND


def _span(microseconds: int | None) -> timedelta | None:
    return None if microseconds is None else microseconds * _MICROSECOND
