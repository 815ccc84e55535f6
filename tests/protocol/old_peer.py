"""A peer of version 1 as it is in the field: its descriptors are made here, from what docs/protocol.md froze."""

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

FieldType = descriptor_pb2.FieldDescriptorProto
STRING, DOUBLE, INT32 = FieldType.TYPE_STRING, FieldType.TYPE_DOUBLE, FieldType.TYPE_INT32
MANY = "repeated"

Field = tuple[str, "int | str"] | tuple[str, "int | str", str]

LIFECYCLE: dict[str, list[Field]] = {
    "EnvironmentVariable": [("name", STRING), ("value", STRING)],
    "ModelConfiguration": [
        ("modelID", STRING),
        ("imageUrl", STRING),
        ("environmentVariables", "EnvironmentVariable", MANY),
    ],
    "DeployModels": [
        ("simulatorId", STRING),
        ("modelConfigurations", "ModelConfiguration", MANY),
        ("keepLogsHours", DOUBLE),
    ],
    "ReadyForProcessing": [],
    "ModelsReady": [],
    "CalculationsDone": [],
    "SimulationDone": [],
    "AllModelsHaveTerminated": [],
    "Parametrized": [],
    "Parameterized": [],
    "ModelParameters": [("parameters_dict", STRING)],
    "NewStep": [("parameters_dict", STRING)],
    "ErrorOccurred": [("error_message", STRING)],
    "UnhealthyModel": [("status", "UnhealthyModelStatus")],
    "ModelHasTerminated": [("status", "TerminationStatus"), ("exitCode", INT32)],
}
HEALTHCHECK: dict[str, list[Field]] = {
    "PingHealthSOToMSO": [("healthy", "HealthStatus"), ("reasons", STRING, MANY), ("activeSimulations", STRING, MANY)],
    "PongHealthMSOToSO": [("healthy", "HealthStatus"), ("reasons", STRING, MANY)],
    "PingHealthMSOToModel": [("healthy", "HealthStatus"), ("reasons", STRING, MANY)],
    "PongHealthModelToMSO": [
        ("healthy", "HealthStatus"),
        ("reasons", STRING, MANY),
        ("numberOfBids", INT32),
        ("numberOfAllocations", INT32),
    ],
}
ENUMS = {
    "UnhealthyModelStatus": ["NOPROGRESS"],
    "TerminationStatus": ["SUCCESSFULL", "FAILED"],
    "HealthStatus": ["HEALTHY", "UNHEALTHY"],
}


def _file() -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(name="version1.proto", syntax="proto3")
    for name, values in ENUMS.items():
        enum = file.enum_type.add(name=name)
        for number, value in enumerate(values):
            enum.value.add(name=value, number=number)
    for name, fields in (LIFECYCLE | HEALTHCHECK).items():
        message = file.message_type.add(name=name)
        for number, (field, kind, *many) in enumerate(fields, start=1):
            added = message.field.add(name=field, number=number)
            added.label = FieldType.LABEL_REPEATED if many else FieldType.LABEL_OPTIONAL
            if isinstance(kind, str):
                added.type_name = f".{kind}"
                added.type = FieldType.TYPE_ENUM if kind in ENUMS else FieldType.TYPE_MESSAGE
            else:
                added.type = kind  # type: ignore[assignment]
    return file


_pool = descriptor_pool.DescriptorPool()
_pool.Add(_file())


def message_class(name: str) -> Any:
    """The class that such a peer has for a message."""
    return message_factory.GetMessageClass(_pool.FindMessageTypeByName(name))
