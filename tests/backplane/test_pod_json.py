"""What is read of a pod says the same as the whole of it."""

import json
from typing import Any

import pytest

from mso.backplane.pod_json import read_event, read_page, read_versions
from mso.backplane.pod_status import deletion_asked_at, standing_of
from mso.backplane.pods import Pod, attempt_of, marks_of, recollection_of
from tests.backplane.seen import CREATED, OVER, condition, ended, over, pod, running, waiting

STATUSES: dict[str, dict[str, Any]] = {
    "running": {"phase": "Running", "containerStatuses": [running(), running("proxy")]},
    "succeeded": over(0),
    "failed": over(3),
    "killed for its memory": {"phase": "Failed", "containerStatuses": [ended(137, reason="OOMKilled")]},
    "evicted": {"phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: memory."},
    "drained": {
        "phase": "Failed",
        "conditions": [condition("DisruptionTarget", "True", reason="EvictionByEvictionAPI", message="drained")],
    },
    "init failed": {
        "phase": "Failed",
        "initContainerStatuses": [ended(9, "prepare")],
        "containerStatuses": [waiting("PodInitializing")],
    },
    "image": {"phase": "Pending", "containerStatuses": [waiting("ImagePullBackOff", "no such image")]},
    "unscheduled": {
        "phase": "Pending",
        "conditions": [condition("PodScheduled", "False", message="0/3 nodes", lastTransitionTime=CREATED)],
    },
    "nothing": {},
}


def as_the_api_has_it(status: dict[str, Any], **metadata: Any) -> Pod:
    """With all that nobody here asks for."""
    made = pod(status=status, node="" if status.get("conditions") else "node-1", **metadata)
    made["metadata"]["managedFields"] = [{"manager": "kubelet", "fieldsV1": {"f:status": {}}}]
    made["status"] |= {"podIPs": [{"ip": "198.18.0.7"}], "qosClass": "BestEffort"}
    return made


@pytest.mark.parametrize("deleted", (False, True))
@pytest.mark.parametrize("status", STATUSES.values(), ids=STATUSES.keys())
def test_what_is_read_means_the_same(status: dict[str, Any], deleted: bool) -> None:
    """In a listing and in a watch."""
    when = {"deletionTimestamp": OVER, "deletionGracePeriodSeconds": 30} if deleted else {}
    whole = as_the_api_has_it(status, **when)
    page = read_page(json.dumps({"metadata": {"resourceVersion": "7", "continue": "x"}, "items": [whole]}).encode())
    event = read_event(json.dumps({"type": "MODIFIED", "object": whole}).encode())
    assert page["metadata"] == {"resourceVersion": "7", "continue": "x"}
    assert event["type"] == "MODIFIED"
    for read in (*page["items"], event["object"]):
        assert standing_of(read) == standing_of(whole)
        assert (attempt_of(read), marks_of(read)) == (attempt_of(whole), marks_of(whole))
        assert recollection_of(read) == recollection_of(whole)
        assert deletion_asked_at(read) == deletion_asked_at(whole)
        assert "managedFields" not in read["metadata"]


def test_versions_are_read_of_whole_pods_and_of_their_metadata_alone() -> None:
    """Whichever the API gives us."""
    whole = as_the_api_has_it(over(0))
    page = {"kind": "PodList", "metadata": {"resourceVersion": "7", "continue": "x"}}
    for item in (whole, {"kind": "PartialObjectMetadata", "metadata": whole["metadata"]}):
        read = read_versions(json.dumps(page | {"items": [item]}).encode())
        assert read == {"metadata": page["metadata"], "items": [("uid-1", "1")]}


def test_an_error_of_a_watch_is_read_whole() -> None:
    """It is no pod."""
    status = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old", "details": {"a": [1]}}
    assert read_event(json.dumps({"type": "ERROR", "object": status}).encode()) == {"type": "ERROR", "object": status}


def test_a_bookmark_has_a_version_and_nothing_else() -> None:
    """The rest of it is empty."""
    mark = {"kind": "Pod", "metadata": {"resourceVersion": "9"}, "spec": {"containers": None}, "status": {}}
    read = read_event(json.dumps({"type": "BOOKMARK", "object": mark}).encode())
    assert read["object"]["metadata"] == {"resourceVersion": "9"}


@pytest.mark.parametrize("labels", (None, {}))
def test_a_pod_of_somebody_else_is_read_and_left_alone(labels: Any) -> None:
    """Without labels, without a status, without anything of ours (fault K8)."""
    stranger = {"metadata": {"name": "x", "uid": "x", "resourceVersion": "1", "labels": labels, "annotations": None}}
    (read,) = read_page(json.dumps({"metadata": {}, "items": [stranger]}).encode())["items"]
    assert attempt_of(read) is None


@pytest.mark.parametrize("read", (read_page, read_event, read_versions))
@pytest.mark.parametrize("data", (b"", b"{", b"[]", b"<html>", b'{"items": 1}', b'{"type": 1}', b"\xff\xfe"))
def test_what_is_something_else_is_a_value_error(read: Any, data: bytes) -> None:
    """Whoever answers so is not the API."""
    with pytest.raises(ValueError, match=r".+"):
        read(data)
