"""A server that plays the Lease API of one namespace: other holders, conflicts, outages; and a clock to be set."""

import json
from typing import Any

import pytest
from aiohttp import web

from mso.backplane.kubernetes_api import Access
from mso.backplane.kubernetes_lease import KubernetesLease, Timing
from tests.backplane.api_server import Answer, ApiServer, cut, hang, refusing, saying
from tests.happening import Happening

WAITING = Timing(renew=5.0, look=0.02, call=0.8, release=1.6)
"""The usual ten seconds, and no waiting but for the clock, which the test sets: in steps of up to 5 s."""
HOLDING = Timing(renew=0.02, look=0.02, call=0.8, release=1.6)
"""For a holder: it renews all the time."""
LEASES = "/apis/coordination.k8s.io/v1/namespaces/dots/leases"
LONG_AGO = "2001-01-01T00:00:00.000000Z"
TROUBLES: dict[str, Answer] = {
    "hangs": hang,
    "is cut": cut,
    "fails": refusing(500, {"reason": "InternalError", "message": "etcdserver: leader changed"}),
    "is overloaded": refusing(429, {"reason": "TooManyRequests", "message": "later"}, Retry_After="60"),
    "forbids": refusing(403, {"reason": "Forbidden", "message": "leases is forbidden"}),
    "is a portal": refusing(200, {"kind": "Status", "status": "Success"}),
    "is no API": refusing(200, "<html>Welcome to the hotel</html>"),
    "stops": saying(b'{"kind": "Lease", ', then=hang),
}
troubles = pytest.mark.parametrize("trouble", (*TROUBLES.values(),), ids=(*TROUBLES,))


def told(logs: list[Any]) -> list[str]:
    """What a lease has said, of all that was logged."""
    return [entry["event"] for entry in logs if entry["event"].startswith("lease.")]


class Desk(Happening):
    """The API: one lease, and what it answers instead; a clock that stands until it is set."""

    def __init__(self, server: ApiServer) -> None:
        super().__init__()
        self.lease: dict[str, Any] | None = None
        self.instead: dict[str, list[Answer]] = {"GET": [], "POST": [], "PUT": []}
        """By method: what the next calls are answered with."""
        self.away: dict[str, Answer] = {}
        """By method: what all calls are answered with."""
        self.bodies: list[dict[str, Any]] = []
        """Of every write that was let through."""
        self.clock = 1000.0
        self.looks = 0
        self.calls = 0
        self._version = 100
        self.access = Access(token="t", host="127.0.0.1", port=server.port, ca_file=server.ca_file)
        server.answer = self.answer

    def open(self, timing: Timing = WAITING) -> KubernetesLease:
        return KubernetesLease(self.access, "dots", timing, clock=lambda: self.clock)

    def put(self, holder: str, **spec: object) -> None:
        """Somebody else writes it."""
        usual = {"leaseDurationSeconds": 10, "acquireTime": LONG_AGO, "renewTime": LONG_AGO, "leaseTransitions": 3}
        self.store({"metadata": {"name": "mso"}, "spec": {"holderIdentity": holder, **usual, **spec}})

    def touch(self, **metadata: object) -> None:
        """Somebody else changes what is not the holder's."""
        assert self.lease
        self.store({**self.lease, "metadata": {**self.lease["metadata"], **metadata}})

    def stay_away(self, answer: Answer, *methods: str) -> None:
        self.away = dict.fromkeys(methods or self.instead, answer)

    @property
    def holder(self) -> str:
        return self.lease["spec"]["holderIdentity"] if self.lease else ""

    async def see(self, looks: int = 2) -> None:
        """It was looked at so often, and whatever follows from all looks but the last has happened."""
        enough = self.looks + looks
        await self.until(lambda: self.looks >= enough)

    async def ask(self, calls: int = 2) -> None:
        """As `see`, with whatever answer."""
        enough = self.calls + calls
        await self.until(lambda: self.calls >= enough)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if request.path.endswith("selfsubjectaccessreviews"):
            return web.json_response({"status": {"allowed": True}})
        self.calls += 1
        self.tell()
        if answer := self.away.get(request.method):
            return await answer(request)
        if answers := self.instead[request.method]:
            return await answers.pop(0)(request)
        return await self._serve(request)

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        assert request.path == (LEASES if request.method == "POST" else f"{LEASES}/mso")
        if request.method == "GET":
            self.looks += 1
            self.tell()
        else:
            body = await request.json()
            if self.lease is None and request.method == "PUT":
                return await refusing(404, {"reason": "NotFound", "message": "not found"})(request)
            if self.lease and request.method == "POST":
                return await refusing(409, {"reason": "AlreadyExists", "message": "already exists"})(request)
            if self.lease and body["metadata"]["resourceVersion"] != self.lease["metadata"]["resourceVersion"]:
                return await refusing(409, {"reason": "Conflict", "message": "has been modified"})(request)
            self.bodies.append(body)
            self.store(body)
        if self.lease is None:
            return await refusing(404, {"reason": "NotFound", "message": "not found"})(request)
        return web.json_response(self.lease)

    def store(self, lease: dict[str, Any]) -> None:
        """It has a new version."""
        self._version += 1
        metadata = {**lease["metadata"], "resourceVersion": str(self._version)}
        self.lease = json.loads(json.dumps({**lease, "kind": "Lease", "metadata": metadata}))
        self.tell()

    def unheard(self) -> Answer:
        """What is asked for is done, and the answer gets lost."""

        async def answer(request: web.Request) -> web.StreamResponse:
            await self._serve(request)
            return await cut(request)

        return answer

    def first(self, holder: str) -> Answer:
        """Somebody else is faster by a hair."""

        async def answer(request: web.Request) -> web.StreamResponse:
            self.put(holder)
            return await self._serve(request)

        return answer
