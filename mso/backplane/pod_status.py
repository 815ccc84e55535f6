"""What the status of a pod means for its model. Pure: pod JSON in; an end, a doubt, or neither out.

- The container of the model decides, whatever stands beside it; where it has no word, the pod's own phase and reason
  do: an evicted pod has no container statuses at all (fault P2), and a sidecar outlives the model (fault P9).
- A *doubt* is a state that may pass and may not (an image that cannot be pulled, a node that is silent). How long it
  may last is not decided here.

https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, auto
from typing import Any

from mso.backplane.pods import CONTAINER, Pod
from mso.model import NO_EXIT_CODE, End, Failed, Reason, Succeeded

FATAL_WAITS = frozenset({"InvalidImageName", "ErrImageNeverPull", "CreateContainerConfigError"})
"""Why a container waits that will never start: nothing that anybody but its author does can change it (fault P3)."""

_PULL_WAITS = frozenset(
    {"ErrImagePull", "ImagePullBackOff", "RegistryUnavailable", "ImageInspectError", "SignatureValidationFailed"}
)
_START_WAITS = frozenset({"CreateContainerError", "RunContainerError", "CrashLoopBackOff"})
_CONFIG_WAITS = frozenset({"CreateContainerConfigError"})

_POD_REASONS = {
    "Evicted": Reason.EVICTED,
    "Preempting": Reason.EVICTED,
    "Preempted": Reason.EVICTED,
    "DeadlineExceeded": Reason.RUNTIME_EXCEEDED,
    "NodeLost": Reason.NODE_LOST,
    "NodeShutdown": Reason.NODE_LOST,
    "Shutdown": Reason.NODE_LOST,
    "Terminated": Reason.NODE_LOST,  # a node that was shut down in good order
    "NodeAffinity": Reason.UNSCHEDULABLE,
    "OutOfcpu": Reason.UNSCHEDULABLE,
    "OutOfmemory": Reason.UNSCHEDULABLE,
    "OutOfpods": Reason.UNSCHEDULABLE,
    "OutOfephemeral-storage": Reason.UNSCHEDULABLE,
    "UnexpectedAdmissionError": Reason.UNSCHEDULABLE,
}
"""Why a pod as a whole failed, in the words of kubelet and controllers; anything else is an Error."""


class Patience(Enum):
    """What bounds how long a doubt may last."""

    NONE = auto()
    IMAGE_PULL = auto()
    PENDING = auto()
    NODE = auto()


@dataclass(frozen=True, slots=True)
class Doubt:
    """What the model will have failed of, if this goes on."""

    patience: Patience
    reason: Reason
    message: str
    since: datetime | None = None
    """When it began, where the API says so; else it began when it was first seen."""
    node: str = ""
    """Where the pod is, if it is anywhere yet."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How a model stands by its pod: it has ended, or it is in doubt, or all is well."""

    end: End | None = None
    doubt: Doubt | None = None
    lingers: bool = False
    """It has ended, and yet the pod goes on: a sidecar runs."""
    settles: bool = False
    """It has ended, and the phase of the pod does not say so yet: the kubelet writes that a moment later."""


def standing_of(pod: Pod, fatal_waits: frozenset[str] = FATAL_WAITS) -> Standing:
    """How its model stands, as far as this one look at the pod can tell."""
    end = _end(pod)
    if end is None:
        return Standing(doubt=_doubt(pod, fatal_waits))
    is_open = pod["status"].get("phase") in ("Pending", "Running")
    lingers = is_open and _others_go_on(pod)
    return Standing(end, lingers=lingers, settles=is_open and not lingers)


def end_of_deleted(pod: Pod) -> End:
    """How the model of a pod ended that somebody deleted, from the last that was seen of it."""
    end = _end(pod)
    return end if end is not None else _deleted(pod, NO_EXIT_CODE, "somebody deleted its pod")


def ended_before_deletion(pod: Pod) -> bool:
    """Whether the model was over when its deletion was asked for. The API dates both by the second."""
    asked = deletion_asked_at(pod)
    if asked is None:
        return True
    # Only the container's own word counts: a pod that never was ready has conditions from before all that.
    finished = _time((_state_of_model(pod).get("terminated") or {}).get("finishedAt"))
    return finished is not None and finished < asked


def deletion_asked_at(pod: Pod) -> datetime | None:
    """When its deletion was asked for, to the second; None if it was not."""
    due = _time(pod["metadata"].get("deletionTimestamp"))
    grace = pod["metadata"].get("deletionGracePeriodSeconds") or 0
    return due and due - timedelta(seconds=grace)


def _end(pod: Pod) -> End | None:
    status = pod.get("status", {})
    phase, reason = status.get("phase"), status.get("reason", "")
    state = _state_of_model(pod)
    terminated = state.get("terminated")
    if not terminated and phase not in ("Succeeded", "Failed"):
        return None
    run: dict[str, Any] = {
        "started_at": _started_at(state),
        "finished_at": _finished_at(pod, state),
        "node": _node(pod),
    }
    message = status.get("message") or ""
    code = terminated["exitCode"] if terminated else NO_EXIT_CODE
    if phase == "Failed" and reason in _POD_REASONS:
        return Failed(code, _POD_REASONS[reason], message or reason, **run)
    if not ended_before_deletion(pod):
        return _deleted(pod, code, f"its pod was deleted while it ran; exit code {code}")
    if phase == "Failed" and (disruption := _disruption(pod)):
        return Failed(code, Reason.EVICTED, disruption, **run)
    if terminated:
        return _end_of_container(terminated, run)
    if phase == "Succeeded":
        return Succeeded(**run)
    code, message = _failed_init(pod) or (NO_EXIT_CODE, message or reason or "its pod failed without a reason")
    return Failed(code, Reason.ERROR, message, **run)


def _end_of_container(terminated: dict[str, Any], run: dict[str, Any]) -> End:
    code = terminated["exitCode"]
    why = terminated.get("reason", "")
    words = terminated.get("message") or ""
    if why == "OOMKilled":
        return Failed(code, Reason.OOM_KILLED, words or "it used more memory than its limit", **run)
    if code == 0:
        return Succeeded(**run)
    told = f"exit code {code}" if why in ("Error", "") else f"{why}, exit code {code}"
    return Failed(code, Reason.ERROR, f"{told}: {words}" if words else told, **run)


def _deleted(pod: Pod, code: int, message: str) -> Failed:
    # Without a time: the API dates by the second, and an end that a removal brought about must not seem to precede it.
    run: dict[str, Any] = {"started_at": _started_at(_state_of_model(pod)), "node": _node(pod)}
    if disruption := _disruption(pod):
        return Failed(code, Reason.EVICTED, disruption, **run)
    return Failed(code, Reason.POD_DELETED, message, **run)


def _disruption(pod: Pod) -> str:
    """Why the cluster itself put the pod away: preemption, a drained node, a taint."""
    condition = _condition(pod, "DisruptionTarget")
    if condition.get("status") != "True":
        return ""
    return f"{condition.get('reason', 'disrupted')}: {condition.get('message', '')}".rstrip(": ")


def _failed_init(pod: Pod) -> tuple[int, str] | None:
    """The exit code of the init container that failed (fault P8)."""
    for status in pod["status"].get("initContainerStatuses") or ():
        terminated = status.get("state", {}).get("terminated")
        if terminated and terminated["exitCode"] != 0:
            code = terminated["exitCode"]
            why = terminated.get("message") or terminated.get("reason") or "failed"
            return code, f"init container {status['name']}: exit code {code}: {why}"
    return None


def _doubt(pod: Pod, fatal_waits: frozenset[str]) -> Doubt | None:
    metadata, status, node = pod["metadata"], pod.get("status", {}), _node(pod)
    if metadata.get("deletionTimestamp"):
        due = _time(metadata["deletionTimestamp"])
        return Doubt(Patience.NODE, Reason.NODE_LOST, f"node {node} does not say that it ended the pod", due, node)
    if status.get("phase") == "Unknown" or status.get("reason") == "NodeLost":
        return Doubt(Patience.NODE, Reason.NODE_LOST, status.get("message") or "its node is silent", node=node)
    if waiting := _waiting(pod, fatal_waits):
        return waiting
    if status.get("phase") == "Pending" and not node:
        condition = _condition(pod, "PodScheduled")
        message = condition.get("message") or "no node was found for it"
        return Doubt(Patience.PENDING, Reason.UNSCHEDULABLE, message, _time(metadata.get("creationTimestamp")))
    return None


def _waiting(pod: Pod, fatal_waits: frozenset[str]) -> Doubt | None:
    for status in (*(pod.get("status", {}).get("initContainerStatuses") or ()), _status_of_model(pod)):
        waiting = status.get("state", {}).get("waiting") or {}
        why = waiting.get("reason", "")
        image = status.get("image", "")
        message = f"{why}: {waiting.get('message') or image}"
        if image and image not in message:
            message = f"{message} (image {image})"
        if why in fatal_waits:
            pull = why not in _CONFIG_WAITS | _START_WAITS
            reason = Reason.IMAGE_PULL_FAILED if pull else Reason.DEPLOY_FAILED
            return Doubt(Patience.NONE, reason, message, node=_node(pod))
        if why in _PULL_WAITS:
            return Doubt(Patience.IMAGE_PULL, Reason.IMAGE_PULL_FAILED, message, node=_node(pod))
        if why in _START_WAITS | _CONFIG_WAITS:
            return Doubt(Patience.IMAGE_PULL, Reason.DEPLOY_FAILED, message, node=_node(pod))
    return None


def _status_of_model(pod: Pod) -> dict[str, Any]:
    """By its name: an injected sidecar may stand first (fault P9)."""
    statuses = pod.get("status", {}).get("containerStatuses") or ()
    return next((status for status in statuses if status.get("name") == CONTAINER), {})


def _state_of_model(pod: Pod) -> dict[str, Any]:
    state: dict[str, Any] = _status_of_model(pod).get("state") or {}
    return state


def _others_go_on(pod: Pod) -> bool:
    statuses = pod["status"].get("containerStatuses") or ()
    others = [status for status in statuses if status.get("name") != CONTAINER]
    return any("terminated" not in (status.get("state") or {}) for status in others)


def _condition(pod: Pod, kind: str) -> dict[str, Any]:
    conditions = pod.get("status", {}).get("conditions") or ()
    return next((condition for condition in conditions if condition.get("type") == kind), {})


def _node(pod: Pod) -> str:
    node: str = pod["spec"].get("nodeName") or ""
    return node


def _started_at(state: dict[str, Any]) -> datetime | None:
    began = (state.get("terminated") or state.get("running") or {}).get("startedAt")
    return _time(began)


def _finished_at(pod: Pod, state: dict[str, Any]) -> datetime | None:
    """finishedAt, else when the pod stopped being ready; None leaves it to whoever sees it first."""
    finished = (state.get("terminated") or {}).get("finishedAt")
    return _time(finished or _condition(pod, "Ready").get("lastTransitionTime"))


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
