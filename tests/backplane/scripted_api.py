"""An API server that plays a namespace of pods: it lists what the test put there; watches say what the test says."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

from aiohttp import web

from mso.backplane import Listed, Observation
from mso.backplane.kubernetes import KubernetesBackplane, KubernetesSettings
from mso.backplane.kubernetes_api import Access
from mso.backplane.pods import Pod
from mso.backplane.roster import Limits
from mso.model import Attempt, End
from tests.backplane.api_server import Answer, ApiServer, refusing

PATIENCE_SECONDS = 20.0
PODS = "/api/v1/namespaces/dots/pods"


def gone(why: str = "Expired") -> dict[str, Any]:
    """The API does not know that version any more."""
    return {"kind": "Status", "reason": why, "message": "too old resource version", "code": 410}


@dataclass
class Namespace:
    """Pods by name; `version` is that of the next listing. Each of `watches` plays one watch, the last all others."""

    pods: dict[str, Pod] = field(default_factory=dict)
    version: int = 100
    watches: list[Answer] = field(default_factory=list)
    listings: list[Answer] = field(default_factory=list)
    """What the next listings are answered with instead."""
    creates: list[Answer] = field(default_factory=list)
    """What the next creates are answered with instead."""

    def put(self, *pods: Pod) -> None:
        for pod in pods:
            self.pods[pod["metadata"]["name"]] = pod

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if request.path.endswith("selfsubjectaccessreviews"):
            return web.json_response({"status": {"allowed": True}})
        if request.method == "POST":
            return await self._create(request)
        if request.method == "DELETE":
            return await self._delete(request)
        if request.path != PODS:
            pod = self.pods.get(request.path.rsplit("/", 1)[1])
            return web.json_response(pod) if pod else await _not_found(request)
        if "watch" in request.query:
            watch = self.watches.pop(0) if len(self.watches) > 1 else self.watches[0]
            return await watch(request)
        if self.listings:
            return await self.listings.pop(0)(request)
        return self._list(request)

    def _list(self, request: web.Request) -> web.StreamResponse:
        """A page at a time, as it is asked for."""
        everything = list(self.pods.values())
        first = int(request.query.get("continue", 0))
        last = first + int(request.query.get("limit", len(everything) or 1))
        metadata = {"resourceVersion": str(self.version)} | ({"continue": str(last)} if last < len(everything) else {})
        items = everything[first:last]
        if wants_metadata_only(request.headers):
            items = [{"kind": "PartialObjectMetadata", "metadata": item["metadata"]} for item in items]
        return web.json_response({"metadata": metadata, "items": items})

    async def _create(self, request: web.Request) -> web.StreamResponse:
        if self.creates:
            return await self.creates.pop(0)(request)
        pod = await request.json()
        name = pod["metadata"]["name"]
        if name in self.pods:
            return await refusing(409, {"reason": "AlreadyExists", "message": f'pods "{name}" already exists'})(request)
        pod["metadata"] |= {"uid": f"uid-of-{name}", "resourceVersion": str(self.version)}
        pod["status"] = {"phase": "Pending"}
        self.put(pod)
        return web.json_response(pod, status=201)

    async def _delete(self, request: web.Request) -> web.StreamResponse:
        pod = self.pods.pop(request.path.rsplit("/", 1)[1], None)
        return web.json_response(pod) if pod else await _not_found(request)


def wants_metadata_only(headers: Mapping[str, str]) -> bool:
    return "as=PartialObjectMetadataList" in headers["Accept"]


async def _not_found(request: web.Request) -> web.StreamResponse:
    return await refusing(404, {"reason": "NotFound", "message": f"{request.path} not found"})(request)


def event(kind: str, thing: object) -> bytes:
    """A line of a watch."""
    return json.dumps({"type": kind, "object": thing}).encode() + b"\n"


def bookmark(version: int) -> bytes:
    return event("BOOKMARK", {"metadata": {"resourceVersion": str(version)}})


class Listener:
    """What the backplane says, as it says it."""

    def __init__(
        self, backplane: KubernetesBackplane, stream: AsyncIterator[Observation | Listed], server: ApiServer
    ) -> None:
        self.backplane = backplane
        self._stream = stream
        self._server = server

    async def until(self, enough: Callable[[Observation | Listed], object]) -> Observation | Listed:
        async with asyncio.timeout(PATIENCE_SECONDS):
            async for said in self._stream:
                if enough(said):
                    return said
        raise AssertionError("the watch ended")

    async def listed(self) -> frozenset[Attempt]:
        said = await self.until(lambda said: isinstance(said, Listed))
        return cast("Listed", said).present

    async def end(self, attempt: Attempt) -> End:
        said = await self.until(lambda one: isinstance(one, Observation) and one.attempt == attempt and one.end)
        end = cast("Observation", said).end
        assert end
        return end

    def asked(self, what: str) -> list[str]:
        """`list`: the versions that listings asked for, page by page; `watch`: those that watches began with."""
        queries = [heard.query for heard in self._server.heard if heard.method == "GET" and heard.path == PODS]
        watches = [query for query in queries if "watch" in query]
        if what == "watch":
            return [query["resourceVersion"] for query in watches]
        return [query.get("resourceVersion", "") for query in queries if query not in watches]

    def pages(self) -> list[str]:
        """Pages of listings that were asked for: `whole`, or only their `versions`."""
        asked = [heard for heard in self._server.heard if heard.method == "GET" and heard.path == PODS]
        listings = [heard.headers for heard in asked if "watch" not in heard.query]
        return ["versions" if wants_metadata_only(headers) else "whole" for headers in listings]


@asynccontextmanager
async def opened(
    server: ApiServer, resync_seconds: float = 600.0, **limits: float
) -> AsyncIterator[KubernetesBackplane]:
    settings = KubernetesSettings(resync_seconds=resync_seconds, limits=Limits(**limits))  # type: ignore[arg-type]
    access = Access(token="t", host="127.0.0.1", port=server.port, ca_file=server.ca_file)
    async with KubernetesBackplane(access, settings) as backplane:
        yield backplane


@asynccontextmanager
async def listening(server: ApiServer, resync_seconds: float = 600.0, **limits: float) -> AsyncIterator[Listener]:
    async with opened(server, resync_seconds, **limits) as backplane:
        stream = cast("Any", backplane.watch())
        async with aclosing(stream):
            yield Listener(backplane, stream, server)
