import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class FailurePolicy(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    KEEP_OTHERS: _ClassVar[FailurePolicy]
    STOP_ALL: _ClassVar[FailurePolicy]

class UnhealthyModelStatus(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    NOPROGRESS: _ClassVar[UnhealthyModelStatus]
    NOTRESPONDING: _ClassVar[UnhealthyModelStatus]
    REPORTEDUNHEALTHY: _ClassVar[UnhealthyModelStatus]

class TerminationStatus(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SUCCESSFULL: _ClassVar[TerminationStatus]
    FAILED: _ClassVar[TerminationStatus]
KEEP_OTHERS: FailurePolicy
STOP_ALL: FailurePolicy
NOPROGRESS: UnhealthyModelStatus
NOTRESPONDING: UnhealthyModelStatus
REPORTEDUNHEALTHY: UnhealthyModelStatus
SUCCESSFULL: TerminationStatus
FAILED: TerminationStatus

class EnvironmentVariable(_message.Message):
    __slots__ = ("name", "value", "secretName", "secretKey")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    SECRETNAME_FIELD_NUMBER: _ClassVar[int]
    SECRETKEY_FIELD_NUMBER: _ClassVar[int]
    name: str
    value: str
    secretName: str
    secretKey: str
    def __init__(self, name: _Optional[str] = ..., value: _Optional[str] = ..., secretName: _Optional[str] = ..., secretKey: _Optional[str] = ...) -> None: ...

class Resources(_message.Message):
    __slots__ = ("cpuRequest", "memoryRequest", "cpuLimit", "memoryLimit", "gpus")
    CPUREQUEST_FIELD_NUMBER: _ClassVar[int]
    MEMORYREQUEST_FIELD_NUMBER: _ClassVar[int]
    CPULIMIT_FIELD_NUMBER: _ClassVar[int]
    MEMORYLIMIT_FIELD_NUMBER: _ClassVar[int]
    GPUS_FIELD_NUMBER: _ClassVar[int]
    cpuRequest: str
    memoryRequest: str
    cpuLimit: str
    memoryLimit: str
    gpus: int
    def __init__(self, cpuRequest: _Optional[str] = ..., memoryRequest: _Optional[str] = ..., cpuLimit: _Optional[str] = ..., memoryLimit: _Optional[str] = ..., gpus: _Optional[int] = ...) -> None: ...

class ModelConfiguration(_message.Message):
    __slots__ = ("modelID", "imageUrl", "environmentVariables", "modelType", "modelVersion", "resources", "readyTimeoutSeconds", "maxRuntimeSeconds", "retries", "command", "args", "healthCheck")
    MODELID_FIELD_NUMBER: _ClassVar[int]
    IMAGEURL_FIELD_NUMBER: _ClassVar[int]
    ENVIRONMENTVARIABLES_FIELD_NUMBER: _ClassVar[int]
    MODELTYPE_FIELD_NUMBER: _ClassVar[int]
    MODELVERSION_FIELD_NUMBER: _ClassVar[int]
    RESOURCES_FIELD_NUMBER: _ClassVar[int]
    READYTIMEOUTSECONDS_FIELD_NUMBER: _ClassVar[int]
    MAXRUNTIMESECONDS_FIELD_NUMBER: _ClassVar[int]
    RETRIES_FIELD_NUMBER: _ClassVar[int]
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    ARGS_FIELD_NUMBER: _ClassVar[int]
    HEALTHCHECK_FIELD_NUMBER: _ClassVar[int]
    modelID: str
    imageUrl: str
    environmentVariables: _containers.RepeatedCompositeFieldContainer[EnvironmentVariable]
    modelType: str
    modelVersion: str
    resources: Resources
    readyTimeoutSeconds: float
    maxRuntimeSeconds: float
    retries: int
    command: _containers.RepeatedScalarFieldContainer[str]
    args: _containers.RepeatedScalarFieldContainer[str]
    healthCheck: bool
    def __init__(self, modelID: _Optional[str] = ..., imageUrl: _Optional[str] = ..., environmentVariables: _Optional[_Iterable[_Union[EnvironmentVariable, _Mapping]]] = ..., modelType: _Optional[str] = ..., modelVersion: _Optional[str] = ..., resources: _Optional[_Union[Resources, _Mapping]] = ..., readyTimeoutSeconds: _Optional[float] = ..., maxRuntimeSeconds: _Optional[float] = ..., retries: _Optional[int] = ..., command: _Optional[_Iterable[str]] = ..., args: _Optional[_Iterable[str]] = ..., healthCheck: _Optional[bool] = ...) -> None: ...

class DeployModels(_message.Message):
    __slots__ = ("simulatorId", "modelConfigurations", "keepLogsHours", "protocolVersion", "failurePolicy", "moreToCome", "requestId")
    SIMULATORID_FIELD_NUMBER: _ClassVar[int]
    MODELCONFIGURATIONS_FIELD_NUMBER: _ClassVar[int]
    KEEPLOGSHOURS_FIELD_NUMBER: _ClassVar[int]
    PROTOCOLVERSION_FIELD_NUMBER: _ClassVar[int]
    FAILUREPOLICY_FIELD_NUMBER: _ClassVar[int]
    MORETOCOME_FIELD_NUMBER: _ClassVar[int]
    REQUESTID_FIELD_NUMBER: _ClassVar[int]
    simulatorId: str
    modelConfigurations: _containers.RepeatedCompositeFieldContainer[ModelConfiguration]
    keepLogsHours: float
    protocolVersion: int
    failurePolicy: FailurePolicy
    moreToCome: bool
    requestId: str
    def __init__(self, simulatorId: _Optional[str] = ..., modelConfigurations: _Optional[_Iterable[_Union[ModelConfiguration, _Mapping]]] = ..., keepLogsHours: _Optional[float] = ..., protocolVersion: _Optional[int] = ..., failurePolicy: _Optional[_Union[FailurePolicy, str]] = ..., moreToCome: _Optional[bool] = ..., requestId: _Optional[str] = ...) -> None: ...

class DeployModelsRejected(_message.Message):
    __slots__ = ("reason", "errors", "minProtocolVersion", "maxProtocolVersion")
    REASON_FIELD_NUMBER: _ClassVar[int]
    ERRORS_FIELD_NUMBER: _ClassVar[int]
    MINPROTOCOLVERSION_FIELD_NUMBER: _ClassVar[int]
    MAXPROTOCOLVERSION_FIELD_NUMBER: _ClassVar[int]
    reason: str
    errors: _containers.RepeatedScalarFieldContainer[str]
    minProtocolVersion: int
    maxProtocolVersion: int
    def __init__(self, reason: _Optional[str] = ..., errors: _Optional[_Iterable[str]] = ..., minProtocolVersion: _Optional[int] = ..., maxProtocolVersion: _Optional[int] = ...) -> None: ...

class ModelsReady(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class UnhealthyModel(_message.Message):
    __slots__ = ("status", "reasons")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    REASONS_FIELD_NUMBER: _ClassVar[int]
    status: UnhealthyModelStatus
    reasons: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, status: _Optional[_Union[UnhealthyModelStatus, str]] = ..., reasons: _Optional[_Iterable[str]] = ...) -> None: ...

class ModelHasTerminated(_message.Message):
    __slots__ = ("status", "exitCode", "reason", "message", "lastLogLines", "startedAt", "finishedAt", "attempt")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    EXITCODE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    LASTLOGLINES_FIELD_NUMBER: _ClassVar[int]
    STARTEDAT_FIELD_NUMBER: _ClassVar[int]
    FINISHEDAT_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    status: TerminationStatus
    exitCode: int
    reason: str
    message: str
    lastLogLines: _containers.RepeatedScalarFieldContainer[str]
    startedAt: _timestamp_pb2.Timestamp
    finishedAt: _timestamp_pb2.Timestamp
    attempt: int
    def __init__(self, status: _Optional[_Union[TerminationStatus, str]] = ..., exitCode: _Optional[int] = ..., reason: _Optional[str] = ..., message: _Optional[str] = ..., lastLogLines: _Optional[_Iterable[str]] = ..., startedAt: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., finishedAt: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., attempt: _Optional[int] = ...) -> None: ...

class AllModelsHaveTerminated(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ReadyForProcessing(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ModelParameters(_message.Message):
    __slots__ = ("parameters_dict",)
    PARAMETERS_DICT_FIELD_NUMBER: _ClassVar[int]
    parameters_dict: str
    def __init__(self, parameters_dict: _Optional[str] = ...) -> None: ...

class Parametrized(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Parameterized(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class NewStep(_message.Message):
    __slots__ = ("parameters_dict",)
    PARAMETERS_DICT_FIELD_NUMBER: _ClassVar[int]
    parameters_dict: str
    def __init__(self, parameters_dict: _Optional[str] = ...) -> None: ...

class CalculationsDone(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ErrorOccurred(_message.Message):
    __slots__ = ("error_message",)
    ERROR_MESSAGE_FIELD_NUMBER: _ClassVar[int]
    error_message: str
    def __init__(self, error_message: _Optional[str] = ...) -> None: ...

class SimulationDone(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
