"""The lease of a namespace, waited for: other holders, conflicts, outages, clocks. tests/cluster has a real API."""

import asyncio
import re
import time
from datetime import UTC, datetime
from typing import Any

import pytest
from aiohttp import web
from structlog.testing import capture_logs

from mso.backplane import BackplaneError, kubernetes_lease
from mso.backplane.kubernetes_lease import KubernetesLease, Timing, Vigil
from tests.backplane.api_server import Answer, ApiServer, cut, hang
from tests.backplane.lease_desk import LONG_AGO, TROUBLES, Desk, told, troubles
from tests.contract.contender import Waiting
from tests.happening import running

MICRO_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


@pytest.fixture
def desk(server: ApiServer) -> Desk:
    return Desk(server)


# -- what is written --------------------------------------------------------------------------------------------------


async def test_the_first_holder_makes_it(desk: Desk) -> None:
    """One object a namespace, with a label that says whose it is."""
    async with desk.open() as lease:
        await lease.acquire(pytest.fail)
    made, _ = desk.bodies
    now = made["spec"].pop("acquireTime")
    assert MICRO_TIME.fullmatch(now)
    assert abs((datetime.now(UTC) - datetime.fromisoformat(now)).total_seconds()) < 60
    assert made == {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": "mso", "labels": {"app.kubernetes.io/managed-by": "mso"}},
        "spec": {
            "holderIdentity": lease.identity,
            "leaseDurationSeconds": 10,
            "renewTime": now,
            "leaseTransitions": 0,
        },
    }


async def test_a_takeover_counts_as_one_and_keeps_what_is_not_the_holders(desk: Desk) -> None:
    """A released lease is taken at once, with labels and annotations as they are."""
    desk.put("", preferredHolder="somebody")
    desk.touch(annotations={"somebody": "else's"})
    async with desk.open() as lease:
        await lease.acquire(pytest.fail)
        (taken,) = desk.bodies
        spec = taken["spec"]
        assert spec["leaseTransitions"] == 4
        assert spec["acquireTime"] == spec["renewTime"] > LONG_AGO
        assert (spec["holderIdentity"], spec["preferredHolder"]) == (lease.identity, "somebody")
        assert taken["metadata"]["annotations"] == {"somebody": "else's"}


@pytest.mark.parametrize("spec", (None, {}, {"holderIdentity": None, "leaseTransitions": None}))
async def test_an_object_without_a_holder_is_nobodys(desk: Desk, spec: dict[str, Any] | None) -> None:
    """Every field of it is optional."""
    desk.store({"metadata": {"name": "mso"}, "spec": spec})
    async with desk.open() as lease:
        await lease.acquire(pytest.fail)
        assert desk.holder == lease.identity


# -- waiting ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("written", "duration"), ((10, 10), (4, 4), (None, 10)))
async def test_it_is_taken_over_when_it_was_seen_unchanged_for_as_long_as_it_says(
    desk: Desk, written: int | None, duration: int
) -> None:
    """By the clock of who waits, from its first look on; what time the holder believes it is plays no part."""
    desk.put("other", leaseDurationSeconds=written, renewTime=LONG_AGO)
    async with desk.open() as lease:
        waiting = Waiting(lease)
        for _ in range(duration):
            await desk.see()
            assert not waiting.task.done()
            desk.clock += 0.99
        await desk.see()
        assert not waiting.task.done()
        desk.clock += 0.02 * duration
        await waiting.until_it_is_ours()
        assert waiting.told == ["other"]


async def test_a_renewal_starts_the_count_anew_and_nothing_else_does(desk: Desk) -> None:
    """Whoever changes a label or an annotation is no sign that the holder lives."""
    desk.put("other")
    async with desk.open() as lease:
        waiting = Waiting(lease)
        for second in range(30):
            await desk.see()
            desk.put("other", renewTime=f"2001-01-01T00:00:{second:02}.000000Z")
            desk.clock += 1
        for second in range(10):
            await desk.see()
            assert not waiting.task.done()
            desk.touch(annotations={"seconds": str(second)})
            desk.clock += 1
        await waiting.until_it_is_ours()
        assert waiting.told == ["other"]


async def test_each_holder_is_told_once(desk: Desk) -> None:
    """However often it is looked at."""
    desk.put("one")
    async with desk.open() as lease:
        waiting = Waiting(lease)
        await desk.see(5)
        desk.put("another")
        await desk.see(5)
        assert waiting.told == ["one", "another"]
        waiting.task.cancel()


@pytest.mark.parametrize("exists", (False, True), ids=("to make it", "to take it"))
async def test_who_is_slower_by_a_hair_waits(desk: Desk, exists: bool) -> None:
    """Of two that write at once one is told of a conflict, and looks who has it now; that is no trouble."""
    if exists:
        desk.put("")
    desk.instead["PUT" if exists else "POST"] = [desk.first("other")]
    with capture_logs() as logs:
        async with desk.open() as lease:
            waiting = Waiting(lease)
            await waiting.until_told()
            waiting.task.cancel()
    assert (waiting.told, desk.holder, told(logs)) == (["other"], "other", [])


@troubles
async def test_trouble_while_waiting_is_waited_out(desk: Desk, trouble: Answer) -> None:
    """Said aloud once, and once more when it is over."""
    desk.put("other")
    desk.stay_away(trouble)
    with capture_logs() as logs:
        async with desk.open() as lease:
            waiting = Waiting(lease)
            await desk.ask()
            desk.away.clear()
            await waiting.until_told()
            desk.put("")
            await waiting.until_it_is_ours()
    assert told(logs) == ["lease.trouble", "lease.well_again"]


async def test_trouble_that_lasts_is_said_aloud_again_now_and_then(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A log that is read from its end on tells of it as well."""
    monkeypatch.setattr(kubernetes_lease, "REMIND_SECONDS", 0.05)
    desk.stay_away(cut)
    with capture_logs() as logs:
        async with desk.open() as lease:
            waiting = Waiting(lease)
            await desk.until(lambda: len(logs) > 2)
            waiting.task.cancel()
    assert set(told(logs)) == {"lease.trouble"}


async def test_an_outage_leads_to_no_takeover(desk: Desk) -> None:
    """While the API is away the holder cannot renew either: who waits begins to count when it is back."""
    desk.put("other")
    async with desk.open() as lease:
        waiting = Waiting(lease)
        for _ in range(9):
            await desk.see()
            desk.clock += 1
        desk.stay_away(cut)
        for _ in range(9):
            desk.clock += 1
            await desk.ask(3)
        desk.away.clear()
        for _ in range(8):
            await desk.see()
            assert not waiting.task.done()
            desk.clock += 1
        desk.clock += 3
        await waiting.until_it_is_ours()


async def test_a_takeover_that_cannot_be_written_leads_to_another_vigil(desk: Desk) -> None:
    """As long as an API only reads, the holder cannot renew either."""
    desk.put("other")
    desk.instead["PUT"] = [TROUBLES["fails"]]
    async with desk.open() as lease:
        waiting = Waiting(lease)
        for _ in range(19):
            await desk.see()
            assert not waiting.task.done()
            desk.clock += 1
        assert desk.instead["PUT"] == []
        desk.clock += 3
        await waiting.until_it_is_ours()


async def test_one_that_was_stopped_itself_counts_anew(desk: Desk) -> None:
    """SIGSTOP, or a machine that slept with all that runs on it: the holder may only now be awake again as well."""
    desk.put("other")
    async with desk.open() as lease:
        waiting = Waiting(lease)
        await desk.see()
        desk.clock += 3600
        await desk.see(4)
        assert not waiting.task.done()
        waiting.task.cancel()


@pytest.mark.parametrize("method", ("POST", "PUT"))
async def test_a_claim_whose_answer_was_lost_is_found_to_be_ours(desk: Desk, method: str) -> None:
    """The next look shows it; it is not waited for ourselves."""
    if method == "PUT":
        desk.put("")
    desk.instead[method] = [desk.unheard()]
    async with desk.open() as lease:
        await lease.acquire(pytest.fail)
        assert desk.holder == lease.identity
        assert lease.holder == lease.identity


# -- all of it --------------------------------------------------------------------------------------------------------


async def test_a_right_that_is_missing_is_named(server: ApiServer, desk: Desk) -> None:
    """Rather than waiting for ever for what will never be allowed."""

    async def answer(request: web.Request) -> web.StreamResponse:
        asked = (await request.json())["spec"]["resourceAttributes"]
        assert (asked["group"], asked["resource"], asked["namespace"]) == ("coordination.k8s.io", "leases", "dots")
        return web.json_response({"status": {"allowed": asked["verb"] != "update"}})

    server.answer = answer
    with pytest.raises(BackplaneError, match=r"in namespace 'dots' we may not update leases:"):
        await desk.open().__aenter__()


async def test_an_api_that_is_away_is_no_reason_not_to_open(server: ApiServer, desk: Desk) -> None:
    """Nor to take long about it."""
    server.answer = hang
    async with asyncio.timeout(5), desk.open():
        pass


async def test_a_holder_that_is_dead_is_followed_within_its_time(desk: Desk) -> None:
    """By real clocks: while it lives it keeps it; once it is not renewed any more it lasts for one second more."""
    timing = Timing(duration=1, renew=0.2, look=0.1, call=0.5)
    access = desk.access
    async with KubernetesLease(access, "dots", timing) as first, KubernetesLease(access, "dots", timing) as second:
        await first.acquire(pytest.fail)
        waiting = Waiting(second)
        async with running(first.keep()):
            await desk.until(lambda: len(desk.bodies) > 10)
            assert not waiting.task.done()
        died = time.monotonic()
        await waiting.until_it_is_ours()
        assert 0.7 < time.monotonic() - died < 3
        assert waiting.told == [first.identity]


@pytest.mark.parametrize(
    ("looks", "seconds"),
    (
        ([("a", 0, 0)], 0),
        ([("a", 0, 1), ("a", 3, 4)], 2),
        ([("a", 0, 1), ("a", 3, 4), ("b", 5, 5)], 0),
        ([("a", 0, 1), ("b", 3, 4), ("a", 5, 5), ("a", 6, 6)], 1),
        ([("a", 0, 0), ("a", 4, 4), ("a", 8, 8)], 8),
        ([("a", 0, 0), ("a", 6, 6)], 0),
        ([("a", 0, 60), ("a", 61, 61)], 0),
        ([("a", 0, 0), ("a", 3, 3), (None, 0, 0), ("a", 4, 4), ("a", 6, 6)], 2),
    ),
)
def test_a_vigil_counts_what_it_has_seen_and_no_more(looks: list[tuple[str | None, int, int]], seconds: int) -> None:
    """From an answer to a question, so never too long; a change, a blink and a gap of more than 5 s begin anew."""
    vigil = Vigil(gap=5)
    unchanged = 0.0
    for record, asked, answered in looks:
        if record is None:
            vigil.blink()
        else:
            unchanged = vigil.look({"holderIdentity": record}, asked, answered)
    assert unchanged == seconds
