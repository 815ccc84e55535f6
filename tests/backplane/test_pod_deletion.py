"""How the model of a pod ended that was deleted, and when: the API dates by the second."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from mso.backplane.pod_status import (
    Doubt,
    Patience,
    deletion_asked_at,
    end_of_deleted,
    ended_before_deletion,
    standing_of,
)
from mso.model import End, Failed, Reason, Succeeded
from tests.backplane.seen import BEGAN, CREATED, NODE, OVER, condition, ended, over, pod, running, waiting

began_at, over_at = datetime.fromisoformat(BEGAN), datetime.fromisoformat(OVER)
GRACE = 30
WHILE_IT_RAN = "its pod was deleted while it ran; exit code {}"
TAINT = condition("DisruptionTarget", "True", reason="DeletionByTaintManager", message="Taint manager: deleting")


def deleted(asked: datetime, status: Any, grace: int = GRACE, **fields: Any) -> Any:
    """A pod that somebody asked at that second to be deleted; the API notes when its grace is over."""
    due = (asked + timedelta(seconds=grace)).isoformat().replace("+00:00", "Z")
    return pod(status=status, deletionTimestamp=due, deletionGracePeriodSeconds=grace, **fields)


EARLIER, SAME, LATER = (over_at + timedelta(seconds=seconds) for seconds in (-5, 0, 1))
NOT_READY = condition("Ready", "False", reason="PodFailed", lastTransitionTime=OVER)
EVICTED = {"phase": "Failed", "reason": "Evicted", "message": "low on memory", "conditions": [NOT_READY]}

ENDS: dict[str, tuple[Any, End]] = {
    "while it ran, by SIGTERM": (
        deleted(EARLIER, over(143)),
        Failed(143, Reason.POD_DELETED, WHILE_IT_RAN.format(143), began_at),
    ),
    "while it ran, by SIGKILL": (
        deleted(EARLIER, over(137)),
        Failed(137, Reason.POD_DELETED, WHILE_IT_RAN.format(137), began_at),
    ),
    "while it ran, and it ended well": (
        deleted(EARLIER, over(0)),
        Failed(0, Reason.POD_DELETED, WHILE_IT_RAN.format(0), began_at),
    ),
    "while it ran, without a grace": (
        deleted(EARLIER, over(137), grace=0),
        Failed(137, Reason.POD_DELETED, WHILE_IT_RAN.format(137), began_at),
    ),
    "in the second of its end": (
        deleted(SAME, over(0)),
        Failed(0, Reason.POD_DELETED, WHILE_IT_RAN.format(0), began_at),
    ),
    "after it had ended": (deleted(LATER, over(0)), Succeeded(began_at, over_at)),
    "after it had failed": (deleted(LATER, over(3)), Failed(3, Reason.ERROR, "exit code 3", began_at, over_at)),
    "after it was evicted": (
        deleted(LATER, EVICTED),
        Failed(-1, Reason.EVICTED, "low on memory", None, over_at),
    ),
    "while it ran, and nobody says how it ended": (
        deleted(EARLIER, {"phase": "Failed"}),
        Failed(-1, Reason.POD_DELETED, WHILE_IT_RAN.format(-1)),
    ),
    "while it ran, by the cluster": (
        deleted(EARLIER, over(143) | {"conditions": [TAINT]}),
        Failed(143, Reason.EVICTED, "DeletionByTaintManager: Taint manager: deleting", began_at),
    ),
}


@pytest.mark.parametrize(("seen", "end"), ENDS.values(), ids=ENDS.keys())
def test_how_the_model_of_a_deleted_pod_ended(seen: Any, end: End) -> None:
    """What had ended before keeps its own end; any other is PodDeleted, and has no time that could seem earlier."""
    assert standing_of(seen).end == replace(end, node=NODE)
    assert end_of_deleted(seen) == replace(end, node=NODE)


def test_a_pod_that_was_deleted_before_its_container_began_did_not_end_by_itself() -> None:
    """The kubelet makes up an exit code without a time, for a pod that never was ready (seen with Kubernetes 1.34)."""
    unlocated = ended(137, startedAt=None, finishedAt=None, reason="ContainerStatusUnknown")
    never_ready = condition("Ready", "False", reason="ContainersNotReady", lastTransitionTime=CREATED)
    seen = deleted(EARLIER, {"phase": "Failed", "containerStatuses": [unlocated], "conditions": [never_ready]})
    end = standing_of(seen).end
    assert isinstance(end, Failed)
    assert (end.reason, end.started_at, end.finished_at) == (Reason.POD_DELETED, None, None)
    assert not ended_before_deletion(seen)


GONE: dict[str, tuple[Any, End]] = {
    "that ran": (
        pod(status={"phase": "Running", "containerStatuses": [running()]}),
        Failed(-1, Reason.POD_DELETED, "somebody deleted its pod", began_at),
    ),
    "that was being deleted": (
        deleted(EARLIER, {"phase": "Running", "containerStatuses": [running()]}, grace=0),
        Failed(-1, Reason.POD_DELETED, "somebody deleted its pod", began_at),
    ),
    "that had not begun": (
        pod(status={"phase": "Pending", "containerStatuses": [waiting("ContainerCreating")]}),
        Failed(-1, Reason.POD_DELETED, "somebody deleted its pod"),
    ),
    "without a node": (
        pod(status={"phase": "Pending"}, node=""),
        Failed(-1, Reason.POD_DELETED, "somebody deleted its pod"),
    ),
    "that the cluster put away": (
        pod(status={"phase": "Running", "containerStatuses": [running()], "conditions": [TAINT]}),
        Failed(-1, Reason.EVICTED, "DeletionByTaintManager: Taint manager: deleting", began_at),
    ),
}


@pytest.mark.parametrize(("seen", "end"), GONE.values(), ids=GONE.keys())
def test_how_the_model_of_a_pod_that_is_gone_ended(seen: Any, end: End) -> None:
    """Of which no end was seen: it did not end by itself (P1)."""
    assert standing_of(seen).end is None
    assert end_of_deleted(seen) == replace(end, node=seen["spec"].get("nodeName", ""))


def test_a_node_that_does_not_end_a_pod_is_doubted() -> None:
    """From when its grace is over, however long ago it was asked for (P10)."""
    seen = deleted(EARLIER, {"phase": "Running", "containerStatuses": [running()]}, node="node-7")
    assert standing_of(seen).doubt == Doubt(
        Patience.NODE,
        Reason.NODE_LOST,
        "node node-7 does not say that it ended the pod",
        EARLIER + timedelta(seconds=GRACE),
        "node-7",
    )


@pytest.mark.parametrize(
    ("grace", "asked"), ((GRACE, EARLIER), (0, EARLIER), (None, EARLIER + timedelta(seconds=GRACE)))
)
def test_when_a_deletion_was_asked_for(grace: int | None, asked: datetime) -> None:
    """The API says when the grace is over, and how long it is."""
    seen = deleted(EARLIER, over(0), grace=grace or 0)
    if grace is None:
        seen = deleted(EARLIER, over(0))
        del seen["metadata"]["deletionGracePeriodSeconds"]
    assert deletion_asked_at(seen) == asked


def test_a_pod_that_nobody_deletes() -> None:
    """Ends before any deletion."""
    assert deletion_asked_at(pod()) is None
    assert ended_before_deletion(pod(status=over(0)))


@pytest.mark.parametrize("text", (OVER, "2026-05-04T12:10:00.000000Z", "2026-05-04T14:10:00+02:00"))
def test_times_are_those_of_a_zone(text: str) -> None:
    """However the API writes them, they compare with ours (fault C1)."""
    seen = pod(status={"phase": "Succeeded", "containerStatuses": [ended(0, finishedAt=text)]})
    end = standing_of(seen).end
    assert end
    assert end.finished_at
    assert end.finished_at == over_at
    assert end.finished_at.utcoffset() is not None
