"""Models as pods of one namespace of a Kubernetes cluster: a translator and a pipe.

What a pod is and what its status means is said by pure functions (pods.py, pod_status.py); what is known of all of them
is kept by the roster (roster.py) and fed by one list and one watch (pod_watch.py). Here is what is asked of the API.

A pod is deleted only by the name or the label that its run gave it, and only if it is the one that was meant (its uid).
Whatever does not carry our label is never read, changed or deleted (fault K8).
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from typing import Self

import structlog

from mso.backplane import BackplaneError, Capabilities, DeployError, Listed, Mark, Observation
from mso.backplane.kubernetes_api import MERGE_PATCH, Access, KubernetesApi, RefusedError
from mso.backplane.kubernetes_permissions import check_permissions
from mso.backplane.lines import TAIL_BYTES, last_lines
from mso.backplane.news import News
from mso.backplane.perseverance import PAUSE_CAP_SECONDS
from mso.backplane.pod_json import read_pod
from mso.backplane.pod_status import Patience, deletion_asked_at, standing_of
from mso.backplane.pod_watch import PodWatch
from mso.backplane.pods import (
    CONTAINER,
    Pod,
    PodSettings,
    attempt_of,
    is_of_same_order,
    marking,
    pod_manifest,
    pod_name,
    run_selector,
)
from mso.backplane.roster import Entry, Limits, Roster, verdict
from mso.model import Attempt, Failed, Model, Reason, RunKey
from mso.patience import pauses, persist

log = structlog.get_logger()

GONE_SECONDS = 40.0
"""How long one call waits for pods to be gone: past the grace that Kubernetes gives them by default."""
TAIL_SECONDS = 15.0
WARNINGS = 5
_HEALTH_SECONDS = 4.0
_LIVING = "status.phase!=Succeeded,status.phase!=Failed"

_NOT_BEGUN = (
    "waiting to start: ContainerCreating",
    "waiting to start: PodInitializing",
    "the server could not find the requested resource",  # the kubelet has not heard of the pod yet
    " is not available",  # it has, and has no status of the container yet
)
"""What the API says of the log of a container that has not begun: that is no error, only empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KubernetesSettings:
    """What an operator sets. Spans are in seconds."""

    namespace: str = "dots"
    pods: PodSettings = field(default_factory=PodSettings)
    limits: Limits = field(default_factory=Limits)
    resync_seconds: float = 30.0
    concurrency: int = 32
    """Creates that may be under way at once."""


class KubernetesBackplane:
    """Runs models as pods."""

    capabilities = Capabilities(command=True, resources=True, secrets=True)

    def __init__(
        self, access: Access, settings: KubernetesSettings, answered: Callable[[str, str], None] = lambda *_: None
    ) -> None:
        """`answered` counts requests to the API (mso/backplane/kubernetes_api.py)."""
        self._settings = settings
        self._api = KubernetesApi(access, settings.concurrency + 24, answered)
        self._pods = f"/api/v1/namespaces/{settings.namespace}/pods"
        self._events = f"/api/v1/namespaces/{settings.namespace}/events"
        self._alarm = asyncio.Event()
        self._roster = Roster(settings.limits, self._alarm.set, bereaved=self._mark_again)
        self._removing: set[RunKey] = set()
        self._chores: set[asyncio.Task[None]] = set()
        self._news = News()
        self._watch = PodWatch(
            self._api,
            self._pods,
            self._roster,
            settings.resync_seconds,
            tell=self._tell,
            tell_listed=self._news.tell_listed,
        )

    async def __aenter__(self) -> Self:
        """Raises BackplaneError when there is no way to a cluster, or when what is needed there is not allowed."""
        await self._api.__aenter__()
        try:
            await check_permissions(self._api, self._settings.namespace)
        except BaseException:
            await self._api.__aexit__()
            raise
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        for chore in self._chores:
            chore.cancel()
        await asyncio.gather(*self._chores, return_exceptions=True)
        await self._api.__aexit__()

    # -- deploying ------------------------------------------------------------------------------------------------

    async def deploy(self, model: Model) -> None:
        """Create the pod of the model's current attempt; see Backplane.deploy.

        Where no answer came it may have been created all the same: then it is there already, the next time (fault D4).
        """
        manifest = pod_manifest(model, self._settings.pods)
        try:
            self._watch.take_in(await self._api.call("POST", self._pods, body=manifest, read=read_pod))
        except RefusedError as no:
            if no.reason == "AlreadyExists":
                await self._make_sure_of(model)
            elif _may_pass(no):
                raise
            else:
                raise DeployError(Reason.DEPLOY_FAILED, str(no)) from no

    async def _make_sure_of(self, model: Model) -> None:
        """The pod that exists already is the one that is wanted; or it is one that we left behind, and deleted now.

        Raises DeployError if it is in the way and not ours to delete, BackplaneError if it was.
        """
        name = pod_name(model.current)
        pod = await self._api.call("GET", f"{self._pods}/{name}")
        if attempt_of(pod) != model.current:
            raise DeployError(Reason.DEPLOY_FAILED, f"a pod {name} is there already, and it is not ours")
        if is_of_same_order(pod, model):
            self._watch.take_in(pod)
            return
        if standing_of(pod).end is None and deletion_asked_at(pod) is None:
            raise DeployError(Reason.DEPLOY_FAILED, f"a pod {name} of another request lives")
        await self._delete(name, uid=pod["metadata"]["uid"])
        raise BackplaneError(f"pod {name}, left of an earlier request, is being deleted")

    # -- watching -------------------------------------------------------------------------------------------------

    async def watch(self) -> AsyncIterator[Observation | Listed]:
        """Everything, then what ends, then everything again; see Backplane.watch."""
        loops = {
            "list-pods": self._watch.keep_listing(),
            "follow-pods": self._watch.keep_following(),
            "judge-pods": self._keep_judging(),
        }
        async with aclosing(self._news.of(loops)) as told:
            async for news in told:
                yield news

    def _tell(self, entry: Entry) -> None:
        self._news.tell(self._roster.observe(entry))

    # -- judging --------------------------------------------------------------------------------------------------

    async def _keep_judging(self) -> None:
        """What has been in doubt for too long is given up; what lingers beside a model that has ended is deleted."""
        while True:
            self._alarm.clear()
            due = self._roster.next_due
            with suppress(TimeoutError):
                async with asyncio.timeout(None if due is None else max(0.0, due - time.monotonic())):
                    await self._alarm.wait()
            for entry in list(self._roster.due()):
                await self._judge(entry)

    async def _judge(self, entry: Entry) -> None:
        """Delete first, then tell: what was reported as failed must not begin to work later (fault P4)."""
        if entry.end is None and entry.doubt and entry.doubt.patience is Patience.NODE:
            self._settle(entry)  # its deletion was asked for long ago; only its node could finish it
            return
        if entry.end is None:
            entry.condemned = verdict(entry)
        try:
            # One that waits for a node may have found it meanwhile; then it is another version, and left alone.
            unscheduled = entry.end is None and entry.doubt and entry.doubt.patience is Patience.PENDING
            await self._delete(entry.name, uid=entry.uid, version=entry.revision if unscheduled else "")
        except BackplaneError as error:
            entry.condemned = None
            log.debug("kubernetes.not_deleted", pod=entry.name, why=str(error))
            self._roster.look_again(entry, PAUSE_CAP_SECONDS)
        else:
            self._settle(entry)

    def _settle(self, entry: Entry) -> None:
        if entry.end is None and self._roster.settle(entry, entry.condemned or verdict(entry)):
            self._tell(entry)

    # -- reading --------------------------------------------------------------------------------------------------

    async def tail(self, attempt: Attempt, lines: int) -> tuple[str, ...]:
        """See Backplane.tail. The API cannot cut a log at its beginning: what comes is read, and its end kept."""
        query = {"container": CONTAINER, "tailLines": str(max(1, lines))}
        data = bytearray()
        try:
            path = f"{self._pods}/{pod_name(attempt)}/log"
            async with self._api.stream(path, query=query, seconds=TAIL_SECONDS) as chunks:
                async for chunk in chunks:
                    data += chunk
                    if len(data) > 2 * TAIL_BYTES:
                        del data[:-TAIL_BYTES]
        except BackplaneError as error:
            if any(words in str(error) for words in _NOT_BEGUN):
                return ()
            raise BackplaneError(f"no log of {attempt}: {error}") from error
        return last_lines(bytes(data), lines)

    async def warnings(self, attempt: Attempt) -> tuple[str, ...]:
        """The last Warning events of its pod, oldest first (fault P7). Raises BackplaneError."""
        selector = f"involvedObject.name={pod_name(attempt)},type=Warning"
        found = await self._api.call("GET", self._events, query={"fieldSelector": selector, "limit": "50"})
        events = sorted(found["items"], key=lambda event: event.get("lastTimestamp") or event.get("eventTime") or "")
        return tuple(f"{event.get('reason', '')}: {event.get('message', '')}" for event in events[-WARNINGS:])

    # -- removing -------------------------------------------------------------------------------------------------

    async def remove(self, attempt: Attempt) -> None:
        entry = self._roster.get(attempt)
        if entry is not None and entry.end is not None and not entry.lingers and entry.condemned is None:
            return
        path = f"{self._pods}/{pod_name(attempt)}"

        async def is_gone() -> bool:
            try:
                pod = await self._api.call("GET", path)
            except RefusedError as no:
                if no.status == 404:
                    return True
                raise
            standing = standing_of(pod)
            if attempt_of(pod) != attempt or (standing.end and not standing.lingers) or self._is_lost(pod):
                return True
            if deletion_asked_at(pod) is None:
                await self._delete(pod["metadata"]["name"], uid=pod["metadata"]["uid"])
            return False

        await self._until(is_gone, f"{attempt} is still being ended")

    async def stop_run(self, run: RunKey) -> None:
        query = {"labelSelector": run_selector(run), "fieldSelector": _LIVING}

        async def has_settled() -> bool:
            living = await self._api.call("GET", self._pods, query=query)
            return not any(standing_of(pod).settles for pod in living["items"])

        # A pod whose model has just ended still has the phase of one that lives: it would go, and its log with it.
        await self._until(has_settled, f"pods of {run} do not settle")
        await self._clear(query, f"models of {run} are still being ended")

    async def remove_run(self, run: RunKey) -> None:
        self._removing.add(run)
        try:
            await self._clear({"labelSelector": run_selector(run)}, f"pods of {run} are still being deleted")
        finally:
            self._removing.discard(run)

    async def _clear(self, query: dict[str, str], still: str) -> None:
        """Delete all of a collection in one call, and wait until it is gone; what is on a lost node counts as gone."""
        await self._api.call("DELETE", self._pods, query=query, body={"kind": "DeleteOptions", "apiVersion": "v1"})

        async def is_gone() -> bool:
            left = await self._api.call("GET", self._pods, query=query)
            return all(self._is_lost(pod) for pod in left["items"])

        await self._until(is_gone, still)

    def _is_lost(self, pod: Pod) -> bool:
        """Whether only a node that is silent could end it (fault P10)."""
        entry = self._roster.get(attempt) if (attempt := attempt_of(pod)) else None
        if entry is None or entry.uid != pod["metadata"]["uid"]:
            return False
        return isinstance(entry.end, Failed) and entry.end.reason is Reason.NODE_LOST

    @staticmethod
    async def _until(is_gone: Callable[[], Awaitable[bool]], still: str) -> None:
        for pause in pauses(first=0.1, cap=PAUSE_CAP_SECONDS, within=GONE_SECONDS):
            if await is_gone():
                return
            await asyncio.sleep(pause)
        raise BackplaneError(still)

    async def _delete(self, name: str, *, uid: str, version: str = "") -> None:
        """Delete the pod that was meant, and no namesake; absent is success. Raises BackplaneError."""
        preconditions = {"uid": uid} | ({"resourceVersion": version} if version else {})
        options = {"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": preconditions}
        try:
            await self._api.call("DELETE", f"{self._pods}/{name}", body=options)
        except RefusedError as no:
            if no.status != 404:
                raise

    # -- marks and health -----------------------------------------------------------------------------------------

    async def mark(self, run: RunKey, mark: Mark) -> None:
        """On one pod of the run, whichever: each brings back the marks of all."""
        names = sorted(entry.name for entry in self._roster.of_run(run))
        if not names:
            found = await self._api.call("GET", self._pods, query={"labelSelector": run_selector(run), "limit": "1"})
            names = [pod["metadata"]["name"] for pod in found["items"]]
        for name in names:
            try:
                pod = await self._api.call(
                    "PATCH", f"{self._pods}/{name}", body=marking(mark), content_type=MERGE_PATCH
                )
            except RefusedError as no:
                if no.status != 404:
                    raise
            else:
                self._watch.take_in(pod)
                return

    def _mark_again(self, run: RunKey, mark: Mark) -> None:
        """Somebody deleted the pod that carried it: another one of the run is to know."""
        if run in self._removing:
            return
        chore = asyncio.create_task(self._persist_mark(run, mark), name=f"mark {run} {mark}")
        self._chores.add(chore)
        chore.add_done_callback(self._chores.discard)
        chore.add_done_callback(self._news.crashed)

    async def _persist_mark(self, run: RunKey, mark: Mark) -> None:
        def tell(error: BackplaneError, _: float) -> None:
            log.warning("kubernetes.mark_lost", run=str(run), mark=str(mark), why=str(error))

        await persist(lambda: self.mark(run, mark), BackplaneError, tell)

    async def health(self) -> tuple[str, ...]:
        try:
            await self._api.call("GET", "/version", seconds=_HEALTH_SECONDS)
        except BackplaneError as error:
            return (f"the Kubernetes API cannot be reached: {error}",)
        return self._watch.troubles()


def _may_pass(no: RefusedError) -> bool:
    """Whether the API may say yes later: it is busy, ails, has no room, or does not know our new token yet."""
    if no.status == 403:
        # The default service account of a new namespace comes a moment after it.
        return "exceeded quota" in str(no) or "error looking up service account" in str(no)
    return no.status in (401, 408, 409, 429) or no.status >= 500
