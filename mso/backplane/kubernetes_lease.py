"""The lease for pods: an object `Lease` of the namespace, which the holder renews and the others watch.

- Whoever writes the object names the version that it has seen, so of two that write at once one is told of a conflict
  and looks again. A holder that was stopped or cut off finds out in this way what happened meanwhile.
- Clocks of two machines are never compared. Who waits takes over what it has itself seen unchanged for as long as the
  lease says; the times in the object are for people.
- An API that does not answer keeps the holder from renewing as well: what was seen before that no longer counts, and
  who waits begins anew. So an outage, however long, makes nobody lose the lease.

What the fields mean: https://kubernetes.io/docs/concepts/architecture/leases/ and, for how they are used,
https://pkg.go.dev/k8s.io/client-go/tools/leaderelection
"""

import asyncio
import math
import random
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self, TypeVar

import structlog

from mso.backplane import BackplaneError
from mso.backplane.identity import MANAGED_BY
from mso.backplane.kubernetes_api import Access, Json, KubernetesApi, RefusedError, UnreachableError
from mso.backplane.kubernetes_permissions import LEASES, check_permissions
from mso.backplane.lease import LeaseLostError, new_identity
from mso.patience import pauses, persist

NAME = "mso"
"""Of the object: there is one MSO a namespace, for it follows every pod there that carries our label."""
REMIND_SECONDS = 30.0

_CONNECTIONS = 4
_NOT_FOUND = 404
_CONFLICT = 409
_SHORTEST_PAUSE_SECONDS = 0.05

log = structlog.get_logger()

_T = TypeVar("_T")

if sys.platform == "linux":

    def _now() -> float:
        """Seconds that never jump, and go on while the machine sleeps: others are awake then."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

else:
    _now = time.monotonic


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Spans in seconds. With these a standby takes over from a holder that was killed within 8 to 12 s."""

    duration: int = 10
    """How long the lease has to stay unchanged until others may take it; Kubernetes wants whole seconds."""
    renew: float = 2.5
    look: float = 1.0
    """Between two looks of one that waits, more or less: many of them should not come at once."""
    call: float = 3.0
    """For one call. Two that hang still leave time for a third before the lease is over."""
    release: float = 2.5
    """For all that is to be done when it is left; each call has half of it, so that one may hang."""


class Vigil:
    """For how long one that waits has seen the very same record, looking again and again. Pure.

    `gap` is the time from one look to the next above which it has not really looked: it was stopped, or asleep.
    """

    def __init__(self, gap: float) -> None:
        self._gap = gap
        self._record: Json | None = None
        self._since = 0.0
        self._last_asked = 0.0

    def look(self, record: Json, asked: float, answered: float) -> float:
        """This is what was there at some time between these two. Returns seconds: at least so long unchanged."""
        if record != self._record or asked - self._last_asked > self._gap:
            self._record, self._since = record, answered
        self._last_asked = asked
        return max(0.0, asked - self._since)

    def blink(self) -> None:
        """Nothing was to be seen: begin anew."""
        self._record = None


class KubernetesLease:
    """The lease `mso` of a namespace. Its connections are its own: no other call can delay it."""

    def __init__(
        self,
        access: Access,
        namespace: str,
        timing: Timing = Timing(),
        *,
        clock: Callable[[], float] = _now,
    ) -> None:
        self.identity = new_identity()
        self._api = KubernetesApi(access, connections=_CONNECTIONS)
        self._namespace = namespace
        self._leases = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
        self._timing = timing
        self._call_seconds = timing.call
        self._clock = clock
        self._turn = asyncio.Lock()
        self._seen: Json | None = None
        """The lease as the API last showed it; None if there was none."""
        self._in_doubt = True
        """Whether it may be another one by now that we ourselves wrote, or somebody in between."""
        self._claimed = False
        """Whether we ever asked for it to be ours."""
        self._renewed_at = -math.inf
        self._reminded_at: float | None = None
        """When trouble was last told of; None while there is none."""

    @property
    def holder(self) -> str:
        return _holder(self._seen)

    async def __aenter__(self) -> Self:
        """Raises BackplaneError when there is no way to a cluster, or when what is needed there is not allowed."""
        await self._api.__aenter__()
        try:
            await check_permissions(self._api, self._namespace, LEASES, seconds=self._timing.call)
        except BaseException:
            await self._api.__aexit__()
            raise
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        try:
            if self._claimed:
                await self._release()
        finally:
            await self._api.__aexit__()

    async def acquire(self, waiting: Callable[[str], None]) -> None:
        vigil = Vigil(gap=self._timing.call + self._timing.renew)
        told = ""
        while (pause := await self._persist(lambda: self._approach(vigil))) is not None:
            self._is_well()
            if self.holder != told:
                told = self.holder
                waiting(told)
            await asyncio.sleep(pause)
        self._is_well()

    async def _approach(self, vigil: Vigil) -> float | None:
        """Look, and take it if it is to be had. Returns the seconds until the next look, or None: then it is ours."""
        asked = self._clock()
        try:
            await self._look()
            if self._seen and self.holder not in ("", self.identity):
                unchanged = vigil.look(_record(self._seen), asked, self._clock())
                left = self._duration(self._seen) - unchanged
                if left > 0:
                    usual = self._timing.look * random.uniform(0.8, 1.2)
                    return min(usual, max(left, _SHORTEST_PAUSE_SECONDS))
            await self._write()
        except BackplaneError as error:
            if not _is_conflict(error):
                vigil.blink()
            raise
        return None

    async def keep(self) -> None:
        while True:
            await asyncio.sleep(self._timing.renew)
            await self._persist(self._renew)
            self._is_well()

    async def _renew(self) -> None:
        """Raises LeaseLostError, and BackplaneError when it could be neither written nor seen to be another's."""
        async with self._turn:
            if self._in_doubt:
                await self._look()
                self._insist()
            await self._write()

    async def confirm(self) -> None:
        """At once within the duration of the lease since it was last renewed; else it looks until it can see."""
        if not self._is_fresh():
            await self._persist(self._reassure)

    async def _reassure(self) -> None:
        async with self._turn:
            if self._is_fresh():
                return  # `keep` was faster
            await self._look()
            self._insist()
            try:
                await self._write()
            except BackplaneError as error:
                if _is_conflict(error):
                    raise
                # It is ours, as we have just seen. That nothing can be written goes for all, and `keep` says it aloud.

    def _is_fresh(self) -> bool:
        return self._clock() - self._renewed_at < self._timing.duration

    def _insist(self) -> None:
        """Raises LeaseLostError if another was the last to be seen. One that nobody has is still for us to write."""
        if self.holder not in ("", self.identity):
            raise LeaseLostError(self.holder)

    async def _look(self) -> None:
        try:
            self._take_in(await self._call("GET", f"{self._leases}/{NAME}"))
        except RefusedError as no:
            if no.status != _NOT_FOUND:
                raise
            self._take_in(None)

    async def _write(self) -> None:
        """Make it ours, for another while. Raises RefusedError with a conflict if it is not what we saw any more."""
        asked = self._clock()
        self._claimed = self._in_doubt = True
        claim = _claim(self._seen, self.identity, self._timing.duration)
        if self._seen is None:
            self._take_in(await self._call("POST", self._leases, claim))
        else:
            self._take_in(await self._call("PUT", f"{self._leases}/{NAME}", claim))
        self._renewed_at = asked  # before anybody can have seen it

    async def _release(self) -> None:
        """Write that nobody has it, if it is ours: after a claim that got no answer it is looked up what came of it."""
        self._call_seconds = self._timing.release / 2
        with suppress(TimeoutError):
            async with asyncio.timeout(self._timing.release):
                for pause in pauses(first=0.1, cap=0.5, within=self._timing.release):
                    try:
                        if self._in_doubt:
                            await self._look()
                        if not self._seen or self.holder != self.identity:
                            return
                        self._in_doubt = True
                        self._take_in(await self._call("PUT", f"{self._leases}/{NAME}", _nobodys(self._seen)))
                    except BackplaneError as error:
                        if not _is_conflict(error):
                            self._has_trouble(error)
                        await asyncio.sleep(pause)
        log.warning("lease.not_released", identity=self.identity, seconds=self._timing.duration)

    async def _call(self, method: str, path: str, body: Json | None = None) -> Json:
        """A lease. Raises RefusedError and UnreachableError."""
        limit = self._call_seconds
        try:
            # Not the limit of the client: it does not hold while credentials are read, and where it ends in the same
            # turn of the loop in which another one does, or a cancellation comes, aiohttp 3.14 takes both back.
            async with asyncio.timeout(limit):
                answer = await self._api.call(method, path, body=body, seconds=2 * limit)
        except TimeoutError as error:
            raise UnreachableError(f"no answer from {self._api.host} in time: {method} {path}") from error
        if answer.get("kind") != "Lease":
            raise UnreachableError(f"the answer is no lease: {method} {path}")
        return answer

    def _take_in(self, lease: Json | None) -> None:
        self._seen = lease
        self._in_doubt = False

    def _duration(self, lease: Json) -> float:
        return float(_record(lease).get("leaseDurationSeconds") or self._timing.duration)

    async def _persist(self, act: Callable[[], Awaitable[_T]]) -> _T:
        """Do it until it is done; trouble is said aloud at once, and then from time to time."""
        conflicts = 0

        def tell(error: BackplaneError, _: float) -> None:
            nonlocal conflicts
            conflicts += _is_conflict(error)
            if not _is_conflict(error) or conflicts > 1:  # one is only somebody else who was faster
                self._has_trouble(error)

        return await persist(act, BackplaneError, tell, first=_SHORTEST_PAUSE_SECONDS, cap=self._timing.look)

    def _has_trouble(self, error: BackplaneError) -> None:
        now = time.monotonic()
        if self._reminded_at is None or now - self._reminded_at > REMIND_SECONDS:
            self._reminded_at = now
            log.warning("lease.trouble", why=str(error), host=self._api.host, holder=self.holder)

    def _is_well(self) -> None:
        if self._reminded_at is not None:
            self._reminded_at = None
            log.info("lease.well_again", host=self._api.host, holder=self.holder)


def _record(lease: Json) -> Json:
    """What holders write, and nobody else: others may come and change labels and annotations."""
    record: Json = lease.get("spec") or {}
    return record


def _holder(lease: Json | None) -> str:
    """Empty if it was released, or never held."""
    return str(_record(lease).get("holderIdentity") or "") if lease else ""


def _claim(lease: Json | None, identity: str, duration: int) -> Json:
    """The lease as this holder writes it over what there was: a new one, one of its own, or another's."""
    now = _micro_time()
    held = {"holderIdentity": identity, "leaseDurationSeconds": duration, "renewTime": now}
    if lease is None:
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": NAME, "labels": {MANAGED_BY: "mso"}},
            "spec": {**held, "acquireTime": now, "leaseTransitions": 0},
        }
    if _holder(lease) != identity:
        transitions = int(_record(lease).get("leaseTransitions") or 0) + 1
        held |= {"acquireTime": now, "leaseTransitions": transitions}
    return {**lease, "spec": {**_record(lease), **held}}


def _nobodys(lease: Json) -> Json:
    """The lease as its last holder leaves it."""
    return {**lease, "spec": {**_record(lease), "holderIdentity": "", "renewTime": _micro_time()}}


def _micro_time() -> str:
    """Now, as Kubernetes writes it where microseconds count: RFC 3339."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _is_conflict(error: BackplaneError) -> bool:
    """Somebody else was faster: one wrote what we saw, or made what was not there."""
    return isinstance(error, RefusedError) and error.status == _CONFLICT
