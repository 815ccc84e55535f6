"""Pods as the API shows them: what MSO asks for, and what the cluster writes beside it."""

from collections.abc import Mapping
from typing import Any

from mso.backplane.pods import Pod, PodSettings, pod_manifest
from mso.model import Model
from tests.builders import model

CREATED, BEGAN, OVER = "2026-05-04T12:00:00Z", "2026-05-04T12:00:05Z", "2026-05-04T12:10:00Z"
NODE = "node-1"


def pod(
    of: Model | None = None,
    *,
    uid: str = "uid-1",
    version: str = "1",
    node: str = NODE,
    status: Mapping[str, Any] | None = None,
    **metadata: Any,
) -> Pod:
    """The pod of a model, on a node; `metadata` is what the API server adds to it."""
    made = pod_manifest(of or model(), PodSettings())
    made["metadata"] |= {"uid": uid, "resourceVersion": version, "creationTimestamp": CREATED, **metadata}
    if node:
        made["spec"]["nodeName"] = node
    made["status"] = dict(status or {"phase": "Running", "containerStatuses": [running()]})
    return made


def running(name: str = "model") -> dict[str, Any]:
    """A container that runs, as its status says it."""
    return {"name": name, "image": "image:1", "state": {"running": {"startedAt": BEGAN}}}


def waiting(reason: str, message: str = "", name: str = "model") -> dict[str, Any]:
    """A container that has not begun."""
    state = {"waiting": {"reason": reason} | ({"message": message} if message else {})}
    return {"name": name, "image": "image:1", "state": state}


def ended(exit_code: int, name: str = "model", **fields: Any) -> dict[str, Any]:
    """A container that ended."""
    terminated = {"exitCode": exit_code, "startedAt": BEGAN, "finishedAt": OVER} | fields
    return {"name": name, "image": "image:1", "state": {"terminated": terminated}}


def over(exit_code: int = 0) -> dict[str, Any]:
    """The status of a pod whose model ended."""
    return {"phase": "Failed" if exit_code else "Succeeded", "containerStatuses": [ended(exit_code)]}


def condition(kind: str, status: str, **fields: str) -> dict[str, str]:
    """What somebody in the cluster says of the pod as a whole."""
    return {"type": kind, "status": status, **fields}
