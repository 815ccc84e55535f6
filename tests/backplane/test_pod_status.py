"""What the status of a pod means for its model, cell by cell, as kubelets and controllers write it."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from mso.backplane.pod_status import FATAL_WAITS, Doubt, Patience, Standing, end_of_deleted, standing_of
from mso.model import End, Failed, Reason, Succeeded
from tests.backplane.seen import BEGAN, CREATED, NODE, OVER, condition, ended, over, pod, running, waiting

created_at, began_at, over_at = (datetime.fromisoformat(text) for text in (CREATED, BEGAN, OVER))
READY_UNTIL = "2026-05-04T12:05:00Z"
ready_until = datetime.fromisoformat(READY_UNTIL)

Status = Mapping[str, Any]


def failed_pod(reason: str, message: str = "", *containers: Status, **fields: Any) -> Status:
    """A pod that failed as a whole: nobody need have written a word about its containers."""
    status = {"phase": "Failed", "reason": reason, "message": message}
    return status | ({"containerStatuses": containers} if containers else {}) | fields


# -- how it ended -----------------------------------------------------------------------------------------------------

DISRUPTED = condition("DisruptionTarget", "True", reason="PreemptionByScheduler", message="made room for another")
NOT_READY = condition("Ready", "False", reason="PodFailed", lastTransitionTime=READY_UNTIL)
EVICTED = "The node was low on resource: memory."

ENDS: dict[str, tuple[Status, End]] = {
    "exit code 0": (over(0), Succeeded(began_at, over_at)),
    "exit code 1": (over(1), Failed(1, Reason.ERROR, "exit code 1", began_at, over_at)),
    "an error with words": (
        {"phase": "Failed", "containerStatuses": [ended(3, reason="Error", message="no mesh")]},
        Failed(3, Reason.ERROR, "exit code 3: no mesh", began_at, over_at),
    ),
    "completed": (
        {"phase": "Succeeded", "containerStatuses": [ended(0, reason="Completed")]},
        Succeeded(began_at, over_at),
    ),
    "killed by somebody": (
        {"phase": "Failed", "containerStatuses": [ended(137, reason="Error")]},
        Failed(137, Reason.ERROR, "exit code 137", began_at, over_at),
    ),
    "a command that is not there": (
        {"phase": "Failed", "containerStatuses": [ended(128, reason="StartError", message="no such file")]},
        Failed(128, Reason.ERROR, "StartError, exit code 128: no such file", began_at, over_at),
    ),
    "out of memory (P7)": (
        {"phase": "Failed", "containerStatuses": [ended(137, reason="OOMKilled")]},
        Failed(137, Reason.OOM_KILLED, "it used more memory than its limit", began_at, over_at),
    ),
    "out of memory, of which its first process has not died": (
        {"phase": "Failed", "containerStatuses": [ended(0, reason="OOMKilled")]},
        Failed(0, Reason.OOM_KILLED, "it used more memory than its limit", began_at, over_at),
    ),
    "the container ended, the pod does not say so yet": (
        {"phase": "Running", "containerStatuses": [ended(2)]},
        Failed(2, Reason.ERROR, "exit code 2", began_at, over_at),
    ),
    "succeeded without a word of its containers": ({"phase": "Succeeded"}, Succeeded()),
    "evicted without a word of its containers (P2)": (
        failed_pod("Evicted", EVICTED),
        Failed(-1, Reason.EVICTED, EVICTED),
    ),
    "evicted with statuses that are null (P2)": (
        failed_pod("Evicted", EVICTED, containerStatuses=None, initContainerStatuses=None, conditions=None),
        Failed(-1, Reason.EVICTED, EVICTED),
    ),
    "evicted with an exit code": (
        failed_pod("Evicted", EVICTED, ended(143, reason="Error")),
        Failed(143, Reason.EVICTED, EVICTED, began_at, over_at),
    ),
    "evicted while its container waits": (
        failed_pod("Evicted", EVICTED, waiting("ContainerCreating")),
        Failed(-1, Reason.EVICTED, EVICTED),
    ),
    "preempted by a static pod": (
        failed_pod("Preempting", "Preempted in order to admit critical pod"),
        Failed(-1, Reason.EVICTED, "Preempted in order to admit critical pod"),
    ),
    "disrupted by the cluster": (
        {"phase": "Failed", "containerStatuses": [ended(143)], "conditions": [DISRUPTED]},
        Failed(143, Reason.EVICTED, "PreemptionByScheduler: made room for another", began_at, over_at),
    ),
    "disrupted without a word of its containers": (
        {"phase": "Failed", "conditions": [condition("DisruptionTarget", "True", reason="DeletionByTaintManager")]},
        Failed(-1, Reason.EVICTED, "DeletionByTaintManager"),
    ),
    "to be disrupted, and done in time": (
        {"phase": "Succeeded", "containerStatuses": [ended(0)], "conditions": [DISRUPTED]},
        Succeeded(began_at, over_at),
    ),
    "a disruption that did not come": (
        {"phase": "Failed", "containerStatuses": [ended(1)], "conditions": [condition("DisruptionTarget", "False")]},
        Failed(1, Reason.ERROR, "exit code 1", began_at, over_at),
    ),
    "longer than its deadline": (
        failed_pod("DeadlineExceeded", "Pod was active on the node longer than the specified deadline", ended(143)),
        Failed(
            143,
            Reason.RUNTIME_EXCEEDED,
            "Pod was active on the node longer than the specified deadline",
            began_at,
            over_at,
        ),
    ),
    "its node is lost": (failed_pod("NodeLost", "Node is gone"), Failed(-1, Reason.NODE_LOST, "Node is gone")),
    "its node was shut down": (
        failed_pod("Terminated", "Pod was terminated in response to imminent node shutdown."),
        Failed(-1, Reason.NODE_LOST, "Pod was terminated in response to imminent node shutdown."),
    ),
    "a node without enough memory": (
        failed_pod("OutOfmemory", "Node didn't have enough resource: memory"),
        Failed(-1, Reason.UNSCHEDULABLE, "Node didn't have enough resource: memory"),
    ),
    "a node that turned it away": (
        failed_pod("UnexpectedAdmissionError", "Allocate failed"),
        Failed(-1, Reason.UNSCHEDULABLE, "Allocate failed"),
    ),
    "a reason without a message": (failed_pod("Evicted"), Failed(-1, Reason.EVICTED, "Evicted")),
    "a reason that nobody knows": (failed_pod("Bewitched", "by whom?"), Failed(-1, Reason.ERROR, "by whom?")),
    "no reason at all": ({"phase": "Failed"}, Failed(-1, Reason.ERROR, "its pod failed without a reason")),
    "an init container failed (P8)": (
        {
            "phase": "Failed",
            "initContainerStatuses": [
                ended(0, "first"),
                ended(7, "second", reason="Error"),
                waiting("x", name="third"),
            ],
            "containerStatuses": [waiting("PodInitializing")],
        },
        Failed(7, Reason.ERROR, "init container second: exit code 7: Error"),
    ),
    "an init container failed with words": (
        {
            "phase": "Failed",
            "initContainerStatuses": [ended(1, "fetch", reason="Error", message="no such bucket")],
            "containerStatuses": [waiting("PodInitializing")],
        },
        Failed(1, Reason.ERROR, "init container fetch: exit code 1: no such bucket"),
    ),
    "a sidecar that failed beside a model that succeeded": (
        {"phase": "Failed", "containerStatuses": [ended(1, "proxy"), ended(0)]},
        Succeeded(began_at, over_at),
    ),
    "without the time of its end": (
        {
            "phase": "Failed",
            "containerStatuses": [ended(137, startedAt=None, finishedAt=None)],
            "conditions": [NOT_READY],
        },
        Failed(137, Reason.ERROR, "exit code 137", None, ready_until),
    ),
    "without any time": (
        {"phase": "Failed", "containerStatuses": [ended(137, startedAt=None, finishedAt=None)]},
        Failed(137, Reason.ERROR, "exit code 137"),
    ),
    "evicted, and dated by its readiness": (
        failed_pod("Evicted", EVICTED, conditions=[NOT_READY]),
        Failed(-1, Reason.EVICTED, EVICTED, None, ready_until),
    ),
}


@pytest.mark.parametrize(("status", "end"), ENDS.values(), ids=ENDS.keys())
def test_how_a_model_ended(status: Status, end: End) -> None:
    """Its own container says so; where that has no word, the pod's phase and reason do. Where it ran is told, too."""
    for node in (NODE, ""):
        seen = pod(status=status, node=node)
        assert standing_of(seen).end == replace(end, node=node)
        assert standing_of(seen).doubt is None
        assert end_of_deleted(seen) == replace(end, node=node)


# -- a pod that goes on without its model -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "lingers", "settles"),
    (
        ({"phase": "Running", "containerStatuses": [running("proxy"), ended(0)]}, True, False),
        ({"phase": "Running", "containerStatuses": [running("proxy"), ended(1)]}, True, False),
        ({"phase": "Running", "containerStatuses": [ended(0), ended(0, "log"), running("proxy")]}, True, False),
        ({"phase": "Pending", "containerStatuses": [ended(0), waiting("ImagePullBackOff", name="proxy")]}, True, False),
        ({"phase": "Running", "containerStatuses": [ended(0)]}, False, True),
        ({"phase": "Running", "containerStatuses": [ended(1), ended(0, "proxy")]}, False, True),
        ({"phase": "Succeeded", "containerStatuses": [ended(0, "proxy"), ended(0)]}, False, False),
        ({"phase": "Failed", "containerStatuses": [ended(1, "proxy"), ended(0)]}, False, False),
        (failed_pod("Evicted"), False, False),
    ),
)
def test_a_sidecar_outlives_its_model(status: Status, lingers: bool, settles: bool) -> None:
    """The model has ended once its own container has, and the pod goes on until all have; its phase comes last (P9)."""
    standing = standing_of(pod(status=status))
    assert standing.end is not None
    assert (standing.lingers, standing.settles) == (lingers, settles)


@pytest.mark.parametrize("containers", ([ended(1, "proxy"), running()], [running("proxy"), running()]))
def test_a_model_runs_whatever_its_sidecar_does(containers: list[Status]) -> None:
    """What stands beside it has no say (P9)."""
    assert standing_of(pod(status={"phase": "Running", "containerStatuses": containers})) == Standing()


# -- doubts -----------------------------------------------------------------------------------------------------------

PULL = "Back-off pulling image"
UNSCHEDULABLE = condition("PodScheduled", "False", reason="Unschedulable", message="0/3 nodes are available")
SCHEDULED = condition("PodScheduled", "True")


def pending(*containers: Status, **fields: Any) -> Status:
    return {"phase": "Pending", "conditions": [SCHEDULED], "containerStatuses": containers, **fields}


DOUBTS: dict[str, tuple[Status, str, Doubt | None]] = {
    "running": ({"phase": "Running", "containerStatuses": [running()]}, "node-1", None),
    "just accepted by its node": ({"phase": "Pending", "conditions": [SCHEDULED]}, "node-1", None),
    "creating": (pending(waiting("ContainerCreating")), "node-1", None),
    "initializing": (pending(waiting("PodInitializing")), "node-1", None),
    "waiting without a reason": (pending({"name": "model", "state": {"waiting": {}}}), "node-1", None),
    "waiting for what nobody knows": (pending(waiting("StarsToAlign")), "node-1", None),
    "an image with an impossible name (P3)": (
        pending(waiting("InvalidImageName", "couldn't parse")),
        "node-1",
        Doubt(Patience.NONE, Reason.IMAGE_PULL_FAILED, "InvalidImageName: couldn't parse (image image:1)"),
    ),
    "an image that is never pulled (P3)": (
        pending(waiting("ErrImageNeverPull", 'Container image "image:1" is not present')),
        "node-1",
        Doubt(Patience.NONE, Reason.IMAGE_PULL_FAILED, 'ErrImageNeverPull: Container image "image:1" is not present'),
    ),
    "a secret that is not there (P3)": (
        pending(waiting("CreateContainerConfigError", 'secret "influx" not found')),
        "node-1",
        Doubt(
            Patience.NONE,
            Reason.DEPLOY_FAILED,
            'CreateContainerConfigError: secret "influx" not found (image image:1)',
        ),
    ),
    **{
        f"an image that may come yet: {why} (P3)": (
            pending(waiting(why, PULL)),
            "node-1",
            Doubt(Patience.IMAGE_PULL, Reason.IMAGE_PULL_FAILED, f"{why}: {PULL} (image image:1)"),
        )
        for why in (
            "ErrImagePull",
            "ImagePullBackOff",
            "RegistryUnavailable",
            "ImageInspectError",
            "SignatureValidationFailed",
        )
    },
    "an image of which no more is said": (
        pending(waiting("ErrImagePull")),
        "node-1",
        Doubt(Patience.IMAGE_PULL, Reason.IMAGE_PULL_FAILED, "ErrImagePull: image:1"),
    ),
    **{
        f"a container that does not begin: {why}": (
            pending(waiting(why, "no")),
            "node-1",
            Doubt(Patience.IMAGE_PULL, Reason.DEPLOY_FAILED, f"{why}: no (image image:1)"),
        )
        for why in ("CreateContainerError", "RunContainerError")
    },
    "the image of an init container (P3)": (
        pending(waiting("PodInitializing"), initContainerStatuses=[waiting("ErrImagePull", PULL, "fetch")]),
        "node-1",
        Doubt(Patience.IMAGE_PULL, Reason.IMAGE_PULL_FAILED, f"ErrImagePull: {PULL} (image image:1)"),
    ),
    "an init container that runs": (
        pending(waiting("PodInitializing"), initContainerStatuses=[running("fetch")]),
        "node-1",
        None,
    ),
    "an init container that has ended, and the pod has not": (
        pending(waiting("PodInitializing"), initContainerStatuses=[ended(1, "fetch")]),
        "node-1",
        None,
    ),
    "a sidecar that cannot be pulled": (pending(running(), waiting("ErrImagePull", name="proxy")), "node-1", None),
    "no node that would do (P4)": (
        {"phase": "Pending", "conditions": [UNSCHEDULABLE]},
        "",
        Doubt(Patience.PENDING, Reason.UNSCHEDULABLE, "0/3 nodes are available", created_at),
    ),
    "no scheduler at all (P4)": (
        {"phase": "Pending"},
        "",
        Doubt(Patience.PENDING, Reason.UNSCHEDULABLE, "no node was found for it", created_at),
    ),
    "its node is silent (P10)": (
        {"phase": "Unknown", "message": "Node is unresponsive", "containerStatuses": [running()]},
        "node-1",
        Doubt(Patience.NODE, Reason.NODE_LOST, "Node is unresponsive"),
    ),
    "its node is silent, and nobody says more (P10)": (
        {"phase": "Unknown"},
        "node-1",
        Doubt(Patience.NODE, Reason.NODE_LOST, "its node is silent"),
    ),
    "its node is lost, as old clusters say it (P10)": (
        {"phase": "Running", "reason": "NodeLost", "message": "gone", "containerStatuses": [running()]},
        "node-1",
        Doubt(Patience.NODE, Reason.NODE_LOST, "gone"),
    ),
}


@pytest.mark.parametrize(("status", "node", "doubt"), DOUBTS.values(), ids=DOUBTS.keys())
def test_what_may_pass_and_may_not(status: Status, node: str, doubt: Doubt | None) -> None:
    """A doubt says what the model will have failed of, in the cluster's words, where, and if known since when."""
    assert standing_of(pod(status=status, node=node)) == Standing(doubt=doubt and replace(doubt, node=node))


def test_a_pod_without_a_status_is_no_doubt_of_ours() -> None:
    """As the answer to a create may have it."""
    seen = pod()
    del seen["status"]
    assert standing_of(seen) == Standing()


def test_which_waits_are_fatal_can_be_said() -> None:
    """An operator's list counts, and what is not on it may come yet (P3)."""
    bad_name, no_secret = (
        pod(status=pending(waiting(why, "no"))) for why in ("InvalidImageName", "CreateContainerConfigError")
    )
    assert standing_of(bad_name, frozenset()).end is None
    lenient = standing_of(no_secret, frozenset()).doubt
    assert lenient
    assert (lenient.patience, lenient.reason) == (Patience.IMAGE_PULL, Reason.DEPLOY_FAILED)
    impatient = standing_of(pod(status=pending(waiting("ErrImagePull"))), FATAL_WAITS | {"ErrImagePull"}).doubt
    assert impatient
    assert (impatient.patience, impatient.reason) == (Patience.NONE, Reason.IMAGE_PULL_FAILED)
