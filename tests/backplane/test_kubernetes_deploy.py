"""Creating a pod, exactly once, whatever the API answers; and giving up what will not become of it."""

import json
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web

from mso.backplane import BackplaneError, DeployError
from mso.backplane.pods import PodSettings, pod_manifest, pod_name
from mso.model import Failed, Reason
from tests.backplane.api_server import Answer, ApiServer, cut, hang, refusing, saying
from tests.backplane.scripted_api import Namespace, event, listening, opened
from tests.backplane.seen import over, pod, running, waiting
from tests.builders import NOW, attempt, model

NAME = pod_name(attempt())


@pytest.fixture
def namespace(server: ApiServer) -> Namespace:
    """What the server answers from."""
    namespace = Namespace(watches=[hang])
    server.answer = namespace.answer
    return namespace


def creates(server: ApiServer) -> int:
    return sum(heard.method == "POST" and heard.path.endswith("/pods") for heard in server.heard)


def a_pod(**metadata: Any) -> dict[str, Any]:
    made = pod_manifest(model(), PodSettings())
    made["metadata"] |= {"uid": "uid-old", "resourceVersion": "5", **metadata}
    made["status"] = {"phase": "Running"}
    return made


async def test_a_pod_is_created_once(server: ApiServer, namespace: Namespace) -> None:
    """One call, and what is created is known without a listing."""
    async with opened(server) as backplane:
        await backplane.deploy(model())
    assert (list(namespace.pods), creates(server)) == ([NAME], 1)


async def test_a_create_whose_answer_was_lost_is_found_the_next_time(server: ApiServer, namespace: Namespace) -> None:
    """It was committed and the connection broke: it exists already, and is the one that was wanted (fault D4)."""

    async def committed(request: web.Request) -> web.StreamResponse:
        await namespace._create(request)
        return await cut(request)

    namespace.creates = [committed]
    async with opened(server) as backplane:
        with pytest.raises(BackplaneError):
            await backplane.deploy(model())
        await backplane.deploy(model())
    assert list(namespace.pods) == [NAME]


@pytest.mark.parametrize(
    ("status", "reason", "message"),
    (
        (401, "Unauthorized", "Unauthorized"),
        (403, "Forbidden", 'pods "x" is forbidden: exceeded quota: few, requested: pods=1'),
        (403, "Forbidden", 'pods "x" is forbidden: error looking up service account dots/default'),
        (409, "Conflict", "Operation cannot be fulfilled on resourcequotas"),
        (429, "TooManyRequests", "too many requests"),
        (500, "InternalError", "etcdserver: leader changed"),
        (503, "ServiceUnavailable", "the server is currently unable to handle the request"),
        (504, "Timeout", "request did not complete within the allotted timeout"),
    ),
)
async def test_what_may_pass_is_no_failure_of_the_model(
    server: ApiServer, namespace: Namespace, status: int, reason: str, message: str
) -> None:
    """The API is busy, ails or has no room: it can be tried again (faults D3, D5)."""
    answer = refusing(status, {"reason": reason, "message": message}, Retry_After="7")
    namespace.creates = [answer, answer]  # a 401 is asked once more, with credentials that were read anew
    async with opened(server) as backplane:
        with pytest.raises(BackplaneError, match=message[-10:]) as busy:
            await backplane.deploy(model())
    assert not isinstance(busy.value, DeployError)
    assert busy.value.retry_after == 7


@pytest.mark.parametrize(
    ("status", "message"),
    (
        (400, "the request is malformed"),
        (403, 'pods "x" is forbidden: violates PodSecurity "restricted:latest"'),
        (404, 'namespaces "dots" not found'),
        (422, 'Pod "x" is invalid: spec.containers[0].env[0].name: Invalid value'),
    ),
)
async def test_what_the_api_refuses_for_good_fails_at_once_in_its_words(
    server: ApiServer, namespace: Namespace, status: int, message: str
) -> None:
    """Nobody waits for what no time can mend (fault D3)."""
    namespace.creates = [refusing(status, {"reason": "Whatever", "message": message})]
    async with opened(server) as backplane:
        with pytest.raises(DeployError) as refused:
            await backplane.deploy(model())
    assert (refused.value.reason, str(refused.value)) == (Reason.DEPLOY_FAILED, message)


async def test_a_namesake_of_somebody_else_is_left_alone(server: ApiServer, namespace: Namespace) -> None:
    """It has the name and not our annotations (fault D4)."""
    stranger = {"metadata": {"name": NAME, "uid": "uid-x", "resourceVersion": "1"}, "spec": {}, "status": {}}
    namespace.pods[NAME] = stranger
    async with opened(server) as backplane:
        with pytest.raises(DeployError, match="not ours"):
            await backplane.deploy(model())
    assert namespace.pods == {NAME: stranger}


@pytest.mark.parametrize("left", ({"status": over(1)}, {"deletionTimestamp": "2026-05-04T12:00:00Z"}))
async def test_what_an_earlier_life_left_behind_makes_room(
    server: ApiServer, namespace: Namespace, left: dict[str, Any]
) -> None:
    """Run numbers begin anew where nobody remembers them: a finished pod of that name is ours to delete (fault D4)."""
    status = left.pop("status", {"phase": "Running"})
    earlier = pod_manifest(replace(model(), created_at=NOW.replace(year=2020)), PodSettings())
    earlier["metadata"] |= {"uid": "uid-old", "resourceVersion": "5", **left}
    earlier["status"] = status
    namespace.put(earlier)
    async with opened(server) as backplane:
        with pytest.raises(BackplaneError, match="is being deleted") as not_yet:
            await backplane.deploy(model())
        assert not isinstance(not_yet.value, DeployError)
        await backplane.deploy(model())
    assert namespace.pods[NAME]["metadata"]["uid"] != "uid-old"


async def test_a_pod_of_another_request_that_lives_is_not_replaced(server: ApiServer, namespace: Namespace) -> None:
    """Never delete what runs merely because it is unknown."""
    earlier = pod_manifest(replace(model(), created_at=NOW.replace(year=2020)), PodSettings())
    earlier["metadata"] |= {"uid": "uid-old", "resourceVersion": "5"}
    earlier["status"] = {"phase": "Running"}
    namespace.put(earlier)
    async with opened(server) as backplane:
        with pytest.raises(DeployError, match="of another request lives"):
            await backplane.deploy(model())
    assert namespace.pods[NAME]["metadata"]["uid"] == "uid-old"


async def test_a_listing_that_is_older_than_a_create_does_not_lose_it(server: ApiServer, namespace: Namespace) -> None:
    """Absent from what is too old to show it, it counts as there (fault K9)."""
    async with listening(server, resync_seconds=0.05) as listener:
        assert await listener.listed() == frozenset()
        namespace.version = 500
        stale: Answer = refusing(200, {"metadata": {"resourceVersion": "100"}, "items": []})
        namespace.listings = [stale, stale, stale]
        backplane = listener.backplane
        await backplane.deploy(model())
        for _ in range(3):
            assert await listener.listed() == {attempt()}


def doubtful(kind: str) -> dict[str, Any]:
    """The status of a pod that something is wrong with."""
    match kind:
        case "image":
            return {"phase": "Pending", "containerStatuses": [waiting("ErrImagePull", "no such image")]}
        case "name":
            return {"phase": "Pending", "containerStatuses": [waiting("InvalidImageName", "what a name")]}
        case _:
            return {
                "phase": "Pending",
                "conditions": [{"type": "PodScheduled", "status": "False", "message": "0/3 nodes are available"}],
            }


@pytest.mark.parametrize(
    ("kind", "reason", "words"),
    (
        ("image", Reason.IMAGE_PULL_FAILED, "no such image"),
        ("name", Reason.IMAGE_PULL_FAILED, "what a name"),
        ("node", Reason.UNSCHEDULABLE, "0/3 nodes are available"),
    ),
)
async def test_what_was_in_doubt_for_too_long_is_deleted_first_and_then_told(
    server: ApiServer, namespace: Namespace, kind: str, reason: Reason, words: str
) -> None:
    """What was reported as failed must not begin to work later (faults P3, P4)."""
    namespace.put(pod(version="90", node="" if kind == "node" else "node-1", status=doubtful(kind)))
    async with listening(server, image_pull=0.1, pending=0.1) as listener:
        end = await listener.end(attempt())
        assert isinstance(end, Failed)
        assert (end.reason, words in end.message) == (reason, True)
        assert namespace.pods == {}
    (deletion,) = [heard for heard in server.heard if heard.method == "DELETE"]
    preconditions = {"uid": "uid-1"} | ({"resourceVersion": "90"} if kind == "node" else {})
    assert json.loads(deletion.body)["preconditions"] == preconditions


async def test_what_recovers_in_time_is_not_failed(server: ApiServer, namespace: Namespace) -> None:
    """A registry that hiccups costs nothing (fault P3)."""
    namespace.put(pod(version="90", status=doubtful("image")))
    well = {"phase": "Running", "containerStatuses": [running()]}
    namespace.watches = [
        saying(event("MODIFIED", pod(version="101", status=well))),
        saying(event("MODIFIED", pod(version="105", status=over(0))), then=hang, pause=0.6),
    ]
    async with listening(server, image_pull=0.4) as listener:
        assert not isinstance(await listener.end(attempt()), Failed)
    assert not any(heard.method == "DELETE" for heard in server.heard)
