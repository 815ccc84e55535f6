"""What the doctor says of a cluster, whatever that answers: a server that plays the API says it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from mso import checkup
from mso.backplane import kubernetes_checks as checks
from mso.backplane.clocks import CLOCK, judge_clock
from mso.backplane.kubernetes_api import Access
from mso.backplane.kubernetes_permissions import VERBS
from mso.backplane.pods import PodSettings
from mso.checkup import Finding, Grade
from tests.backplane.api_server import Answer, ApiServer, hang, refusing
from tests.mosquitto import free_port, make_certificate

DOTS = "/api/v1/namespaces/dots"
FORBIDDEN = refusing(403, {"reason": "Forbidden", "message": "you may not", "code": 403})
NOT_FOUND = refusing(404, {"reason": "NotFound", "message": "not found", "code": 404})
UNAUTHORIZED = refusing(401, {"reason": "Unauthorized", "message": "Unauthorized", "code": 401})


def a_node(**spec: Any) -> dict[str, Any]:
    conditions = [{"type": "Ready", "status": "True"}]
    allocatable = {"cpu": "4", "memory": "8Gi", "pods": "110"}
    return {"metadata": {"name": "n"}, "spec": spec, "status": {"allocatable": allocatable, "conditions": conditions}}


@dataclass
class Cluster:
    """One that is well, but for what the test says: answers by method and path, and rights that are withheld."""

    answers: dict[str, Answer] = field(default_factory=dict)
    withheld: set[str] = field(default_factory=set)
    ahead: timedelta = timedelta(0)
    things: dict[str, Any] = field(
        default_factory=lambda: {
            "/version": {"gitVersion": "v1.34.4"},
            DOTS: {"status": {"phase": "Active"}},
            f"{DOTS}/secrets/pull": {"type": "kubernetes.io/dockerconfigjson"},
            f"{DOTS}/resourcequotas": {"items": []},
            "/api/v1/nodes": {"metadata": {}, "items": [a_node()]},
            "/api/v1/pods": {"metadata": {}, "items": []},
        }
    )

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if special := self.answers.get(f"{request.method} {request.path}"):
            return await special(request)
        if request.path.endswith("selfsubjectreviews"):
            return web.json_response({"status": {"userInfo": {"username": "system:serviceaccount:dots:mso"}}})
        if request.path.endswith("selfsubjectaccessreviews"):
            asked = (await request.json())["spec"]["resourceAttributes"]
            what = "/".join(filter(None, (asked["resource"], asked["subresource"])))
            return web.json_response({"status": {"allowed": f"{asked['verb']} {what}" not in self.withheld}})
        if request.method == "POST" and request.path == f"{DOTS}/pods":
            assert request.query["dryRun"] == "All"
            return web.json_response(await request.json(), status=201)
        if request.path not in self.things:
            return await NOT_FOUND(request)
        date = format_datetime(datetime.now(UTC) + self.ahead, usegmt=True)
        return web.json_response(self.things[request.path], headers={"Date": date})


@pytest.fixture
def cluster(server: ApiServer) -> Cluster:
    cluster = Cluster()
    server.answer = cluster.answer
    return cluster


def access(server: ApiServer, **fields: Any) -> Access:
    values: dict[str, Any] = {"token": "t", "host": "127.0.0.1", "port": server.port, "ca_file": server.ca_file}
    return Access(**(values | fields))


async def examined(found: Access, pods: PodSettings | None = None) -> dict[str, Finding]:
    return {one.check: one async for one in checks.check(found, "dots", pods or PodSettings(pull_secret="pull"))}


async def test_a_cluster_that_is_well(server: ApiServer, cluster: Cluster) -> None:
    """Everything is looked at and is well, and nothing is made there: the one pod that is created is not kept."""
    found = await examined(access(server))
    assert {one.grade for one in found.values()} == {Grade.OK}, found
    assert [*found] == [
        *("cluster", "clock", "identity", "permission pods", "permission pods/log", "permission events"),
        *("permission leases", "namespace", "pods admitted", "pull secret", "quota", "node room", "active MSO"),
    ]
    assert "room for 110 more" in found[checks.ROOM].what
    writes = [heard for heard in server.heard if heard.method != "GET" and "reviews" not in heard.path]
    assert [(heard.method, heard.path, heard.query) for heard in writes] == [
        ("POST", f"{DOTS}/pods", {"dryRun": "All"})
    ]


async def test_a_service_account_that_may_no_more_than_it_needs_is_well(server: ApiServer, cluster: Cluster) -> None:
    """What it may not look at is skipped, and asked for first: no forbidden secret is asked for."""
    cluster.withheld = {"get secrets", "list nodes", "list pods"}
    cluster.answers = {f"GET {DOTS}": FORBIDDEN, f"GET {DOTS}/resourcequotas": FORBIDDEN}
    found = await examined(access(server))
    skipped = {check for check, one in found.items() if one.grade is Grade.SKIPPED}
    assert skipped == {"namespace", "pull secret", "quota", "node room"}
    assert not any("secrets" in heard.path for heard in server.heard if heard.method == "GET")


@pytest.mark.parametrize("seconds", (-600, -31, -10, 0, 10, 31, 600))
async def test_a_clock_that_goes_wrong_is_told(server: ApiServer, cluster: Cluster, seconds: int) -> None:
    """By how much at least, and which way."""
    cluster.ahead = timedelta(seconds=seconds)
    found = (await examined(access(server)))[CLOCK]
    grade = Grade.OK if seconds == 0 else Grade.WARNING if abs(seconds) < 30 else Grade.WRONG
    assert found.grade is grade, found
    if seconds:
        assert ("ahead of" if seconds > 0 else "behind") in found.what
        assert "NTP" in found.advice


@pytest.mark.parametrize(
    ("date", "apart"),
    ((0.0, 0), (-0.9, 0), (0.2, 0), (2.9, 0), (-1.9, 0), (3.3, 3), (-4.5, 3), (40.0, 39), (-42.0, 40)),
)
def test_only_what_is_certain_is_taken_for_a_difference(date: float, apart: int) -> None:
    """The API cuts off parts of a second, and the answer was under way for one."""
    sent = datetime(2026, 5, 4, 12, tzinfo=UTC)
    found = judge_clock(
        "cluster", sent, sent + timedelta(seconds=date), sent + timedelta(seconds=1), cut_off=timedelta(seconds=1)
    )
    grade = Grade.OK if apart == 0 else Grade.WARNING if apart <= 30 else Grade.WRONG
    assert found.grade is grade, found


async def test_each_permission_that_is_missing_is_named_with_the_rule_to_add(
    server: ApiServer, cluster: Cluster
) -> None:
    """Those of one kind together; the others are well."""
    cluster.withheld = {"patch pods", "delete pods", "get pods/log"}
    found = await examined(access(server))
    pods = found["permission pods"]
    assert (pods.grade, "may not patch, delete" in pods.what) == (Grade.WRONG, True)
    assert '{apiGroups: [""], resources: [pods], verbs: [patch, delete]}' in pods.advice
    assert found["permission pods/log"].grade is Grade.WRONG
    assert found["permission leases"].grade is Grade.OK
    assert {f"permission {resource}" for _, resource, _ in VERBS} <= found.keys()


async def test_credentials_that_are_not_valid_are_told_from_an_api_that_is_away(
    server: ApiServer, cluster: Cluster
) -> None:
    """And nothing else is looked at."""
    cluster.answers = {"GET /version": UNAUTHORIZED}
    found = await examined(access(server))
    assert found.keys() == {checks.CLUSTER}
    assert found[checks.CLUSTER].grade is Grade.WRONG
    assert "new token" in found[checks.CLUSTER].advice
    away = (await examined(access(server, port=free_port())))[checks.CLUSTER]
    assert (away.grade, "KUBERNETES_HOST" in away.advice) == (Grade.WRONG, True)


async def test_an_impostor_is_named_as_one(server: ApiServer, cluster: Cluster, tmp_path: Path) -> None:
    """Its certificate is not of the cluster's authority; the token is not sent."""
    authority = make_certificate(tmp_path, "authority")
    found = (await examined(access(server, ca_file=authority.certificate)))[checks.CLUSTER]
    assert (found.grade, "KUBERNETES_CA_FILE" in found.advice) == (Grade.WRONG, True)
    assert server.heard == []


async def test_whoever_is_taken_for_anybody_has_no_credentials(server: ApiServer, cluster: Cluster) -> None:
    """Some clusters let anybody read their version."""

    async def anonymous(_: web.Request) -> web.StreamResponse:
        return web.json_response({"status": {"userInfo": {"username": "system:anonymous"}}})

    cluster.answers = {"POST /apis/authentication.k8s.io/v1/selfsubjectreviews": anonymous}
    assert (await examined(access(server)))[checks.IDENTITY].grade is Grade.WRONG


@pytest.mark.parametrize(
    ("status", "words", "grade", "advice"),
    (
        (403, 'violates PodSecurity "restricted:latest"', Grade.WRONG, "MSO_POD_SECURITY=restricted"),
        (403, "exceeded quota: pods, requested: pods=1", Grade.WARNING, "MSO_DEPLOY_TIMEOUT_SECONDS"),
        (403, "failed quota: must specify limits.cpu", Grade.WRONG, "MSO_POD_TEMPLATE_FILE"),
        (403, 'cannot create resource "pods"', Grade.SKIPPED, ""),
        (422, "spec.containers[0].image: Required value", Grade.WRONG, "MSO_POD_TEMPLATE_FILE"),
        (400, "admission webhook does not support dry run", Grade.SKIPPED, ""),
        (500, "etcd is ill", Grade.WRONG, "ask who runs the cluster"),
    ),
)
async def test_what_the_cluster_thinks_of_a_pod_is_told(
    server: ApiServer, cluster: Cluster, status: int, words: str, grade: Grade, advice: str
) -> None:
    """In its own words, with what to do."""
    cluster.answers = {f"POST {DOTS}/pods": refusing(status, {"message": words, "code": status})}
    found = (await examined(access(server)))[checks.ADMISSION]
    assert (found.grade, advice in found.advice) == (grade, True), found


@pytest.mark.parametrize("may_look", (True, False))
async def test_a_namespace_that_is_not_there_is_told_once(server: ApiServer, cluster: Cluster, may_look: bool) -> None:
    """Also to who may not look at namespaces: nothing can be created in it. The rest of it is not looked at."""
    cluster.answers = {f"GET {DOTS}": NOT_FOUND if may_look else FORBIDDEN, f"POST {DOTS}/pods": NOT_FOUND}
    found = await examined(access(server))
    assert (found["namespace"].grade, "kubectl create namespace dots" in found["namespace"].advice) == (
        Grade.WRONG,
        True,
    )
    assert [check for check, one in found.items() if one.grade is Grade.WRONG] == ["namespace"]


async def test_a_namespace_that_is_being_deleted_takes_no_pods(server: ApiServer, cluster: Cluster) -> None:
    """It is there, and wrong."""
    cluster.things[DOTS] = {"status": {"phase": "Terminating"}}
    assert (await examined(access(server)))["namespace"].grade is Grade.WRONG


@pytest.mark.parametrize(
    ("secret", "grade"),
    (
        (None, Grade.WRONG),
        ({"type": "Opaque"}, Grade.WRONG),
        ({"type": "kubernetes.io/dockercfg"}, Grade.OK),
    ),
)
async def test_a_pull_secret_is_there_and_of_the_right_kind(
    server: ApiServer, cluster: Cluster, secret: Mapping[str, str] | None, grade: Grade
) -> None:
    """Kubernetes creates the pod all the same, and then pulls without it."""
    del cluster.things[f"{DOTS}/secrets/pull"]
    if secret:
        cluster.things[f"{DOTS}/secrets/pull"] = secret
    found = (await examined(access(server)))[checks.PULL_SECRET]
    assert found.grade is grade
    if grade is Grade.WRONG:
        assert "kubectl -n dots create secret docker-registry pull" in found.advice


@pytest.mark.parametrize(
    ("spec", "used", "grade", "words"),
    (
        ({}, "1", Grade.OK, "room for 3 more"),
        ({}, "4", Grade.WARNING, "room for 0 more"),
        ({"unschedulable": True}, "1", Grade.WRONG, "0 of 1 nodes take such pods (others: cordoned)"),
    ),
)
async def test_the_room_on_the_nodes_is_counted_for_pods_as_the_cluster_would_make_them(
    server: ApiServer, cluster: Cluster, spec: dict[str, Any], used: str, grade: Grade, words: str
) -> None:
    """With the requests that it adds; listings come a page at a time."""

    async def admitted(request: web.Request) -> web.StreamResponse:
        pod = await request.json()
        pod["spec"]["containers"][0]["resources"] = {"requests": {"cpu": "1"}}
        return web.json_response(pod, status=201)

    async def pods(request: web.Request) -> web.StreamResponse:
        if "continue" not in request.query:
            return web.json_response({"metadata": {"continue": "more"}, "items": []})
        other = {"spec": {"nodeName": "n", "containers": [{"resources": {"requests": {"cpu": used}}}]}}
        return web.json_response({"metadata": {}, "items": [other]})

    cluster.answers = {f"POST {DOTS}/pods": admitted, "GET /api/v1/pods": pods}
    cluster.things["/api/v1/nodes"]["items"] = [a_node(**spec)]
    found = (await examined(access(server)))[checks.ROOM]
    assert (found.grade, words in found.what) == (grade, True), found


async def test_a_quota_that_is_used_up_is_told(server: ApiServer, cluster: Cluster) -> None:
    """A warning: room may come."""
    quota = {"status": {"hard": {"pods": "10", "requests.cpu": "4"}, "used": {"pods": "10", "requests.cpu": "500m"}}}
    cluster.things[f"{DOTS}/resourcequotas"] = {"items": [quota]}
    found = (await examined(access(server)))[checks.QUOTA]
    assert (found.grade, found.what) == (Grade.WARNING, "used up: pods 10 of 10")


@pytest.mark.parametrize(
    ("holder", "ago", "words"),
    (
        ("host-1-ab", 1, "host-1-ab is active"),
        ("host-1-ab", 300, "has said nothing for 5m00s"),
        ("", 1, "none is active"),
    ),
)
async def test_who_is_active_is_told(server: ApiServer, cluster: Cluster, holder: str, ago: int, words: str) -> None:
    """As the lease says."""
    renewed = (datetime.now(UTC) - timedelta(seconds=ago)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    spec = {"holderIdentity": holder, "renewTime": renewed, "leaseDurationSeconds": 10}
    cluster.things["/apis/coordination.k8s.io/v1/namespaces/dots/leases/mso"] = {"kind": "Lease", "spec": spec}
    found = (await examined(access(server)))[checks.ACTIVE]
    assert (found.grade, words in found.what) == (Grade.OK, True), found


async def test_one_call_that_hangs_keeps_nothing_else(
    server: ApiServer, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told to hang, and what it was about."""
    for module in (checks, checkup):
        monkeypatch.setattr(module, "CALL_SECONDS", 1.0)
    cluster.answers = {f"GET {DOTS}/resourcequotas": hang}
    found = await examined(access(server))
    assert [check for check, one in found.items() if one.grade is Grade.WRONG] == ["quota"]


async def test_no_token_is_ever_told(server: ApiServer, cluster: Cluster) -> None:
    """Whatever goes wrong with it."""
    for answer in (UNAUTHORIZED, FORBIDDEN, hang):
        cluster.answers = {"POST /apis/authentication.k8s.io/v1/selfsubjectreviews": answer}
        found = await examined(access(server, token="not-to-be-seen"))
        assert "not-to-be-seen" not in json.dumps([[one.what, one.advice] for one in found.values()])
