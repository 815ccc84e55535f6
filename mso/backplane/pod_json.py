"""What is read of a pod, and nothing else: a third of a pod's JSON is bookkeeping, and most of the rest was ours.

Listings are long: to read ten thousand pods whole takes a second of CPU, and a tenth of that this way (fault K6). The
result has the shape of the API's own JSON, less what nobody here asks for; what is absent there is absent here.
"""

from typing import Any, TypeVar

import msgspec

Json = dict[str, Any]


class _Metadata(msgspec.Struct, omit_defaults=True):
    name: str = ""
    uid: str = ""
    resourceVersion: str = ""  # noqa: N815 - as the API calls it, here and below
    creationTimestamp: str | None = None  # noqa: N815
    deletionTimestamp: str | None = None  # noqa: N815
    deletionGracePeriodSeconds: int | None = None  # noqa: N815
    annotations: dict[str, str] | None = None


class _Spec(msgspec.Struct, omit_defaults=True):
    nodeName: str | None = None  # noqa: N815


class _ContainerStatus(msgspec.Struct, omit_defaults=True):
    name: str = ""
    image: str = ""
    state: Json | None = None


class _Condition(msgspec.Struct, omit_defaults=True):
    type: str = ""
    status: str = ""
    reason: str | None = None
    message: str | None = None
    lastTransitionTime: str | None = None  # noqa: N815


class _Status(msgspec.Struct, omit_defaults=True):
    phase: str | None = None
    reason: str | None = None
    message: str | None = None
    containerStatuses: list[_ContainerStatus] | None = None  # noqa: N815
    initContainerStatuses: list[_ContainerStatus] | None = None  # noqa: N815
    conditions: list[_Condition] | None = None


class _Pod(msgspec.Struct, omit_defaults=True):
    metadata: _Metadata
    spec: _Spec | None = None
    status: _Status | msgspec.UnsetType = msgspec.UNSET


class _Page(msgspec.Struct):
    metadata: Json
    items: list[_Pod]


class _VersionMetadata(msgspec.Struct):
    uid: str = ""
    resourceVersion: str = ""  # noqa: N815


class _Version(msgspec.Struct):
    metadata: _VersionMetadata


class _Versions(msgspec.Struct):
    metadata: Json
    items: list[_Version]


class _Event(msgspec.Struct):
    type: str
    object: msgspec.Raw


METADATA_ONLY = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"
"""Accept: a listing without specification and status; whole, where that is not to be had.

https://kubernetes.io/docs/reference/using-api/api-concepts/#receiving-resources-as-partial-object-metadata
"""

_PAGE = msgspec.json.Decoder(_Page)
_VERSIONS = msgspec.json.Decoder(_Versions)
_EVENT = msgspec.json.Decoder(_Event)
_POD = msgspec.json.Decoder(_Pod)
_ANY = msgspec.json.Decoder()

_T = TypeVar("_T")


def read_pod(data: bytes) -> Json:
    """One pod. Raises ValueError."""
    return _plain(_decode(_POD, data))


def read_page(data: bytes) -> Json:
    """One page of a listing. Raises ValueError."""
    page = _decode(_PAGE, data)
    return {"metadata": page.metadata, "items": [_plain(pod) for pod in page.items]}


def read_versions(data: bytes) -> Json:
    """One page of a listing, and of each item only (uid, resourceVersion). Raises ValueError."""
    page = _decode(_VERSIONS, data)
    items = [(item.metadata.uid, item.metadata.resourceVersion) for item in page.items]
    return {"metadata": page.metadata, "items": items}


def read_event(data: bytes) -> Json:
    """One event of a watch: of a pod, or an error, which is a Status and read whole. Raises ValueError."""
    event = _decode(_EVENT, data)
    thing = _decode(_ANY, event.object) if event.type == "ERROR" else _plain(_decode(_POD, event.object))
    return {"type": event.type, "object": thing}


def _decode(decoder: msgspec.json.Decoder[_T], data: bytes | msgspec.Raw) -> _T:
    try:
        return decoder.decode(data)
    except msgspec.MsgspecError as error:
        raise ValueError(str(error)) from error


def _plain(pod: _Pod) -> Json:
    plain: Json = msgspec.to_builtins(pod)
    plain.setdefault("spec", {})
    return plain
