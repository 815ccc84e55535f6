"""What can be seen of a cluster with MSO's own credentials: who we are there, what we may, whether pods would start.

MSO needs little, and is given no more: whatever it may not look at is skipped, and said to be. The best look at what a
namespace thinks of a pod is to have it create one that is not kept (`dryRun`), as admission, quotas and Pod Security
all have their say. https://kubernetes.io/docs/reference/using-api/api-concepts/#dry-run
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp

from mso.backplane import BackplaneError
from mso.backplane.clocks import CLOCK, judge_clock
from mso.backplane.kubernetes_api import Access, Json, KubernetesApi, RefusedError
from mso.backplane.kubernetes_lease import NAME as LEASE
from mso.backplane.kubernetes_permissions import VERBS, Right, may, missing
from mso.backplane.node_room import quantity, room_for
from mso.backplane.pods import Pod, PodSettings, pod_manifest
from mso.checkup import CALL_SECONDS, Checks, Finding, Grade, ok, skipped, timed, warning, wrong
from mso.model import Model, ModelId, ModelKey, ModelSpec, Request, SimulationId, SimulatorName
from mso.wording import age, one_line

CLUSTER = "cluster"
IDENTITY = "identity"
NAMESPACE = "namespace"
ADMISSION = "pods admitted"
PULL_SECRET = "pull secret"  # noqa: S105 - the name of a check
QUOTA = "quota"
ROOM = "node room"
ACTIVE = "active MSO"

_DATE_CUT_OFF = timedelta(seconds=1)
"""The Date header of an answer is in whole seconds."""
_IMAGE = "registry.example.org/mso-doctor:1"
_REVIEW = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
_SECRET_TYPES = ("kubernetes.io/dockerconfigjson", "kubernetes.io/dockercfg")
_LIVING = "status.phase!=Succeeded,status.phase!=Failed"
_PAGE = "1000"
_FORBIDDEN = 403
_NOT_FOUND = 404


async def check(access: Access, namespace: str, pods: PodSettings) -> Checks:
    """Everything about the cluster, its namespace, and the pods that the settings make."""
    api = KubernetesApi(access, connections=32)
    try:
        async with asyncio.timeout(CALL_SECONDS):
            await api.__aenter__()
    except (BackplaneError, TimeoutError) as error:
        why = str(error) or "the credentials could not be read in time"
        yield wrong(CLUSTER, why, "see docs/kubernetes.md, Access")
        return
    try:
        here = _Place(api, namespace, pods)
        reached, clock = await here.reach()
        yield reached
        if reached.grade is not Grade.OK:
            return
        yield clock or skipped(CLOCK, "the API does not say what time it is there")
        for findings in await asyncio.gather(here.who(), here.rights(), here.place(), here.lease()):
            for finding in findings:
                yield finding
    finally:
        await api.__aexit__()


async def _seen(check: str, look: Awaitable[Finding]) -> Finding:
    """What a look finds, or why it could not."""

    async def guarded() -> Finding:
        try:
            return await look
        except BackplaneError as error:
            return wrong(check, str(error), _advice(error))

    return await timed(check, guarded(), advice="see what the cluster ails")


class _Place:
    """A namespace of a cluster, as we may see it."""

    def __init__(self, api: KubernetesApi, namespace: str, pods: PodSettings) -> None:
        self._api = api
        self._namespace = namespace
        self._pods = pods
        self._here = f"/api/v1/namespaces/{namespace}"

    async def reach(self) -> tuple[Finding, Finding | None]:
        """Whether the API answers, and what time it is there."""
        sent = datetime.now(UTC)
        try:
            version, date = await self._api.about(seconds=CALL_SECONDS)
        except BackplaneError as error:
            return wrong(CLUSTER, str(error), _advice(error)), None
        received = datetime.now(UTC)
        found = ok(CLUSTER, f"{self._api.host} answers: Kubernetes {version.get('gitVersion', 'of unknown version')}")
        return found, judge_clock("cluster", sent, date, received, _DATE_CUT_OFF) if date else None

    async def who(self) -> list[Finding]:
        return [await _seen(IDENTITY, self._who())]

    async def _who(self) -> Finding:
        body = {"kind": "SelfSubjectReview", "apiVersion": "authentication.k8s.io/v1"}
        try:
            answered = await self._api.call("POST", _REVIEW, body=body, seconds=CALL_SECONDS)
        except RefusedError as no:
            return skipped(IDENTITY, f"this API does not say who we are ({no.status})")
        name = one_line(answered["status"]["userInfo"].get("username"), 200)
        if name == "system:anonymous":
            return wrong(
                IDENTITY, "the API takes us for anybody: no credentials reach it", "see docs/kubernetes.md, Access"
            )
        return ok(IDENTITY, name)

    async def rights(self) -> list[Finding]:
        """A finding for each kind of thing."""
        try:
            async with asyncio.timeout(CALL_SECONDS):
                lacking = {
                    right[:2]: right for right in await missing(self._api, self._namespace, seconds=CALL_SECONDS)
                }
        except (BackplaneError, TimeoutError) as error:
            return [
                wrong("permissions", str(error) or "they could not be asked for in time", "see what the cluster ails")
            ]
        return [self._right(needed, lacking.get(needed[:2])) for needed in VERBS]

    def _right(self, needed: Right, lacking: Right | None) -> Finding:
        group, resource, verbs = needed
        check = f"permission {resource}"
        if lacking is None:
            return ok(check, ", ".join(verbs))
        return wrong(
            check,
            f"in namespace {self._namespace!r} we may not {', '.join(lacking[2])}",
            f'add to its Role: {{apiGroups: ["{group}"], resources: [{resource}], verbs: [{", ".join(lacking[2])}]}}',
        )

    async def place(self) -> list[Finding]:
        """The namespace, and whether a pod would be admitted there and find a node."""
        seen, (admission, pod) = await asyncio.gather(_seen(NAMESPACE, self._look_at_namespace()), self._try_a_pod())
        if seen.check == NAMESPACE and admission.what == _no_namespace(self._namespace):
            seen = wrong(
                NAMESPACE, admission.what, f"kubectl create namespace {self._namespace}, or set KUBERNETES_NAMESPACE"
            )
        if seen.grade is Grade.WRONG:
            return [seen, *(skipped(check, "there is no such namespace") for check in (ADMISSION, PULL_SECRET, QUOTA))]
        rest = await asyncio.gather(
            _seen(PULL_SECRET, self._secret()),
            _seen(QUOTA, self._quota()),
            _seen(ROOM, self._room(pod or pod_manifest(_sample(), self._pods))),
        )
        return [seen, admission, *rest]

    async def _look_at_namespace(self) -> Finding:
        try:
            found = await self._api.call("GET", self._here, seconds=CALL_SECONDS)
        except RefusedError as no:
            if no.status == _NOT_FOUND:
                return wrong(
                    NAMESPACE,
                    _no_namespace(self._namespace),
                    f"kubectl create namespace {self._namespace}, or set KUBERNETES_NAMESPACE",
                )
            if no.status != _FORBIDDEN:
                raise
            return skipped(NAMESPACE, f"we may not look at {self._namespace!r}, and need not")
        if (phase := (found.get("status") or {}).get("phase", "Active")) != "Active":
            return wrong(
                NAMESPACE,
                f"{self._namespace!r} is {phase}: it takes no pods",
                "wait until it is gone, and make it anew",
            )
        return ok(NAMESPACE, f"{self._namespace!r} is there")

    async def _try_a_pod(self) -> tuple[Finding, Pod | None]:
        """What would become of a pod, and the pod as it would be."""
        manifest = pod_manifest(_sample(), self._pods)
        try:
            async with asyncio.timeout(CALL_SECONDS):
                pod = await self._api.call("POST", f"{self._here}/pods", query={"dryRun": "All"}, body=manifest)
        except RefusedError as no:
            return self._refused(no), None
        except (BackplaneError, TimeoutError) as error:
            return wrong(
                ADMISSION, str(error) or "no answer in time: an admission webhook may hang", "ask who runs the cluster"
            ), None
        level = "restricted" if self._pods.restricted else "baseline"
        return ok(ADMISSION, f"a pod of Pod Security level {level} would be created"), pod

    def _refused(self, no: RefusedError) -> Finding:
        said = one_line(str(no), 400)
        if no.status == _NOT_FOUND:
            return wrong(ADMISSION, _no_namespace(self._namespace), "")
        if "cannot create resource" in str(no):
            return skipped(ADMISSION, "we may not create pods there: see the permissions")
        if "violates PodSecurity" in str(no):
            if self._pods.restricted:
                return wrong(ADMISSION, said, "let MSO_POD_TEMPLATE_FILE ask for less, or the namespace allow more")
            return wrong(ADMISSION, said, "set MSO_POD_SECURITY=restricted, or let the namespace enforce baseline")
        if "exceeded quota" in str(no):
            return warning(ADMISSION, said, "deployments wait until there is room, for MSO_DEPLOY_TIMEOUT_SECONDS")
        if "failed quota" in str(no):
            return wrong(ADMISSION, said, "let MSO_POD_TEMPLATE_FILE set these requests and limits")
        if "dry run" in str(no) or "dryRun" in str(no):
            return skipped(ADMISSION, f"this cluster cannot say without creating one: {said}")
        return wrong(ADMISSION, said, "mend MSO_POD_TEMPLATE_FILE, or ask who runs the cluster")

    async def _secret(self) -> Finding:
        name = self._pods.pull_secret
        if not name:
            return ok(PULL_SECRET, "none is set: images are pulled without, or with that of the service account")
        create = f"kubectl -n {self._namespace} create secret docker-registry {name}"
        mend = f"{create}, or unset KUBERNETES_PULL_IMAGE_SECRET_NAME"
        try:
            if not await may(self._api, self._namespace, "", "secrets", "get", object_name=name, seconds=CALL_SECONDS):
                return skipped(
                    PULL_SECRET,
                    f"we may not look at {name!r}, and need not",
                    f"kubectl -n {self._namespace} get secret {name}",
                )
            found = await self._api.call("GET", f"{self._here}/secrets/{name}", seconds=CALL_SECONDS)
        except RefusedError as no:
            if no.status != _NOT_FOUND:
                raise
            return wrong(PULL_SECRET, f"there is no secret {name!r}: private images cannot be pulled", mend)
        if found.get("type") not in _SECRET_TYPES:
            return wrong(PULL_SECRET, f"{name!r} is of type {found.get('type')}, with which nothing is pulled", mend)
        return ok(PULL_SECRET, f"{name!r} is there")

    async def _quota(self) -> Finding:
        try:
            found = await self._api.call("GET", f"{self._here}/resourcequotas", seconds=CALL_SECONDS)
        except RefusedError as no:
            if no.status != _FORBIDDEN:
                raise
            return skipped(QUOTA, "we may not look at quotas, and need not")
        told, full = [], []
        for item in found["items"]:
            status = item.get("status") or {}
            for name, hard in (status.get("hard") or {}).items():
                used = (status.get("used") or {}).get(name, "0")
                told.append(f"{name} {used} of {hard}")
                if quantity(used) >= quantity(hard) > 0:
                    full.append(told[-1])
        if full:
            return warning(QUOTA, f"used up: {', '.join(full)}", "remove what is no longer needed, or raise the quota")
        return ok(QUOTA, ", ".join(told) or "there is none")

    async def _room(self, pod: Pod) -> Finding:
        may_see = await asyncio.gather(
            *(may(self._api, "", "", what, "list", seconds=CALL_SECONDS) for what in ("nodes", "pods"))
        )
        if not all(may_see):
            return skipped(
                ROOM,
                "we may not list nodes and the pods of all namespaces, and need not",
                "kubectl describe nodes shows it",
            )
        nodes = [node async for node in self._pages("/api/v1/nodes")]
        living = [one async for one in self._pages("/api/v1/pods", fieldSelector=_LIVING)]
        room = room_for(pod, nodes, living)
        why = f" (others: {', '.join(room.why_not)})" if room.why_not else ""
        seen = (
            f"{room.usable} of {room.nodes} nodes take such pods{why}; room for {room.pods} more, "
            f"{room.cpu:.1f} cores and {room.memory / (1 << 30):.1f} GiB are not asked for"
        )
        if room.usable == 0:
            return wrong(ROOM, seen, "add a node, or let MSO_POD_TEMPLATE_FILE select or tolerate those that are there")
        if room.pods == 0:
            return warning(
                ROOM, seen, "models wait for MSO_PENDING_TIMEOUT_SECONDS: end what is not needed, or add a node"
            )
        return ok(ROOM, seen)

    async def _pages(self, path: str, **query: str) -> AsyncIterator[Json]:
        more = ""
        while True:
            asked = {**query, "limit": _PAGE, **({"continue": more} if more else {})}
            page = await self._api.call("GET", path, query=asked, seconds=CALL_SECONDS)
            for item in page["items"]:
                yield item
            more = page["metadata"].get("continue") or ""
            if not more:
                return

    async def lease(self) -> list[Finding]:
        return [await _seen(ACTIVE, self._lease())]

    async def _lease(self) -> Finding:
        path = f"/apis/coordination.k8s.io/v1/namespaces/{self._namespace}/leases/{LEASE}"
        try:
            lease = await self._api.call("GET", path, seconds=CALL_SECONDS)
        except RefusedError as no:
            if no.status == _NOT_FOUND:
                return ok(ACTIVE, "none has ever been active here")
            return skipped(ACTIVE, f"we may not read the lease: {no}")
        spec: dict[str, Any] = lease.get("spec") or {}
        holder = one_line(spec.get("holderIdentity"), 200)
        if holder == "-":
            return ok(ACTIVE, "none is active")
        renewed = datetime.fromisoformat(str(spec.get("renewTime")).replace("Z", "+00:00"))
        since = datetime.now(UTC) - renewed
        if since > timedelta(seconds=2 * float(spec.get("leaseDurationSeconds") or 10)):
            return ok(ACTIVE, f"{holder} was, and has said nothing for {age(since)}: the next one to start takes over")
        return ok(ACTIVE, f"{holder} is active")


def _sample() -> Model:
    """Nobody's model."""
    key = ModelKey(SimulationId("mso-doctor"), 1, ModelId("model"))
    now = datetime.now(UTC)
    request = Request(SimulatorName("mso-doctor"), key.simulation)
    return Model(key, ModelSpec(key.model, _IMAGE), request, created_at=now, since=now)


def _no_namespace(name: str) -> str:
    return f"there is no namespace {name!r}"


def _advice(error: BackplaneError) -> str:
    """What to do when there was no answer, or not the one that was hoped for."""
    if isinstance(error, RefusedError):
        if error.status == 401:
            return (
                "the credentials are not valid, or not any more: make a new token (kubectl create token), or renew the "
                "kubeconfig"
            )
        return "ask who runs the cluster"
    if isinstance(error.__cause__, aiohttp.ClientConnectorCertificateError):
        return (
            "let KUBERNETES_CA_FILE or KUBERNETES_CA_DATA be the authority of this cluster, and KUBERNETES_HOST a name "
            "in its certificate; if both are right, somebody is in between"
        )
    return "check KUBERNETES_HOST and KUBERNETES_PORT, or the server in the kubeconfig, and what is between"
