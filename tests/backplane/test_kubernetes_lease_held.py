"""The lease of a namespace, once it is ours: kept, confirmed, lost and left, whatever the API does."""

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

import pytest
from aiohttp import web
from structlog.testing import capture_logs

from mso.backplane import kubernetes_lease
from mso.backplane.kubernetes_lease import KubernetesLease, Timing
from mso.backplane.lease import LeaseLostError
from tests.backplane.api_server import Answer, ApiServer, cut, hang
from tests.backplane.lease_desk import HOLDING, TROUBLES, Desk, told, troubles
from tests.contract.contender import Waiting
from tests.happening import running


@pytest.fixture
def desk(server: ApiServer) -> Desk:
    return Desk(server)


@pytest.fixture
async def held(desk: Desk) -> AsyncIterator[KubernetesLease]:
    """A lease that is ours since just now; nobody keeps it yet."""
    async with desk.open(HOLDING) as lease:
        await lease.acquire(pytest.fail)
        yield lease


# -- keeping ----------------------------------------------------------------------------------------------------------


async def test_a_renewal_changes_its_time_and_nothing_else(desk: Desk, held: KubernetesLease) -> None:
    """As kubectl shows it: since when it is held, and when its holder was last heard of."""
    desk.touch(annotations={"somebody": "else's"})
    before = desk.lease
    assert before
    async with running(held.keep()):
        await desk.until(lambda: len(desk.bodies) > 2)
    after = desk.bodies[2]
    assert after["spec"].pop("renewTime") > before["spec"].pop("renewTime")
    assert after["spec"] == before["spec"]
    assert after["metadata"]["annotations"] == {"somebody": "else's"}


@troubles
async def test_a_holder_goes_on_while_the_api_is_away(desk: Desk, held: KubernetesLease, trouble: Answer) -> None:
    """However long it takes, and whatever a clock says; it renews as soon as it can."""
    with capture_logs() as logs:
        async with running(held.keep()):
            await desk.until(lambda: len(desk.bodies) > 1)
            desk.stay_away(trouble)
            desk.clock += 3600
            await desk.ask()
            desk.away.clear()
            renewals = len(desk.bodies)
            await desk.until(lambda: len(desk.bodies) > renewals + 1)
    assert told(logs) == ["lease.trouble", "lease.well_again"]
    assert desk.bodies[-1]["spec"]["leaseTransitions"] == 0


@pytest.mark.parametrize("lost", ("touched", "unheard", "deleted", "freed"))
async def test_a_holder_goes_on_when_nobody_else_has_it(desk: Desk, held: KubernetesLease, lost: str) -> None:
    """Somebody wrote a label, an answer got lost, somebody deleted or freed it: it looks, and writes again."""
    async with running(held.keep()):
        match lost:
            case "touched":
                desk.touch(labels={})
            case "unheard":
                desk.instead["PUT"] = [desk.unheard()]
            case "deleted":
                desk.lease = None
            case _:
                desk.put("")
        renewals = len(desk.bodies)
        await desk.until(lambda: len(desk.bodies) > renewals + 2)
        assert desk.holder == held.identity


@pytest.mark.parametrize("refusal", (None, TROUBLES["forbids"], cut), ids=("conflict", "forbidden", "cut"))
async def test_a_holder_that_sees_another_yields(desk: Desk, held: KubernetesLease, refusal: Answer | None) -> None:
    """Also when its own writing fails for another reason; and it leaves the other in peace."""
    if refusal:
        desk.stay_away(refusal, "PUT")
    desk.put("other")
    theirs = desk.lease
    with pytest.raises(LeaseLostError, match="other") as error:
        await asyncio.wait_for(held.keep(), 5)
    assert error.value.holder == held.holder == "other"
    await held.__aexit__()
    assert desk.lease == theirs


async def test_a_holder_that_finds_it_deleted_may_find_another_that_made_it(desk: Desk, held: KubernetesLease) -> None:
    """Whoever makes it has it."""
    desk.lease = None
    desk.instead["POST"] = [desk.first("other")]
    with pytest.raises(LeaseLostError, match="other"):
        await asyncio.wait_for(held.keep(), 5)


async def test_a_clock_that_is_set_changes_nothing(
    desk: Desk, held: KubernetesLease, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time of day is only written down, for people to read."""

    class Jumping(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return datetime(2001 + len(desk.bodies) % 2 * 98, 1, 1, tzinfo=tz)

    monkeypatch.setattr(kubernetes_lease, "datetime", Jumping)
    async with desk.open() as other:
        waiting = Waiting(other)
        async with running(held.keep()):
            for _ in range(20):
                renewals = len(desk.bodies)
                await desk.until(lambda seen=renewals: len(desk.bodies) > seen)  # type: ignore[misc]
                await desk.see()
                desk.clock += 1
        assert not waiting.task.done()
        assert waiting.told == [held.identity]
        waiting.task.cancel()


# -- confirming -------------------------------------------------------------------------------------------------------


async def test_what_was_just_renewed_is_confirmed_without_a_question(desk: Desk, held: KubernetesLease) -> None:
    """Nobody else can have it yet, even if the API is away."""
    desk.stay_away(hang)
    desk.clock += 9.9
    calls = desk.calls
    await held.confirm()
    assert desk.calls == calls


async def test_what_was_renewed_too_long_ago_is_looked_at(desk: Desk, held: KubernetesLease) -> None:
    """It is ours, or it is nobody's: then it is renewed, and for as long as it lasts not asked for again."""
    for holder in (held.identity, ""):
        desk.clock += 10
        desk.put(holder)
        await held.confirm()
        assert desk.holder == held.identity
        calls = desk.calls
        await held.confirm()
        assert desk.calls == calls


async def test_what_another_has_by_now_is_not_confirmed(desk: Desk, held: KubernetesLease) -> None:
    """After SIGCONT, or when the network is back."""
    desk.put("other")
    desk.clock += 10
    with pytest.raises(LeaseLostError, match="other"):
        await held.confirm()


@troubles
async def test_what_cannot_be_seen_is_not_confirmed_until_it_can(
    desk: Desk, held: KubernetesLease, trouble: Answer
) -> None:
    """Another may have it: nothing new is begun before that is known."""
    desk.stay_away(trouble)
    desk.clock += 10
    confirming = asyncio.create_task(held.confirm())
    await desk.ask()
    assert not confirming.done()
    desk.away.clear()
    await asyncio.wait_for(confirming, 5)


async def test_what_can_be_seen_to_be_ours_is_confirmed_though_nothing_can_be_written(
    desk: Desk, held: KubernetesLease
) -> None:
    """An API that only reads takes it from nobody."""
    desk.stay_away(TROUBLES["fails"], "PUT")
    desk.clock += 10
    await asyncio.wait_for(held.confirm(), 5)


# -- leaving ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("trouble", (None, TROUBLES["fails"], cut, hang, "touched"))
async def test_leaving_lets_go_of_it(desk: Desk, trouble: Answer | str | None) -> None:
    """So that another has it at once; one failure or one conflict is got over."""
    async with desk.open(Timing(call=2.0, release=2.0)) as lease:
        await lease.acquire(pytest.fail)
        if trouble == "touched":
            desk.touch(labels={})
        elif callable(trouble):
            desk.instead["PUT"] = [trouble]
    assert desk.lease
    assert desk.holder == ""
    assert desk.lease["spec"]["leaseTransitions"] == 0
    assert lease.holder == ""


async def test_leaving_lets_go_of_a_claim_that_got_no_answer(desk: Desk) -> None:
    """It is not known to be ours, and nobody is to wait for it."""

    async def unheard(request: web.Request) -> web.StreamResponse:
        desk.stay_away(cut)
        return await desk.unheard()(request)

    desk.instead["POST"] = [unheard]
    async with desk.open() as lease:
        waiting = Waiting(lease)
        await desk.ask()
        waiting.task.cancel()
        assert desk.holder == lease.identity
        desk.away.clear()
    assert desk.holder == ""


@pytest.mark.parametrize("trouble", (cut, hang))
async def test_leaving_takes_three_seconds_at_most(desk: Desk, trouble: Answer) -> None:
    """Whatever the API does; who waits has it when it is over."""
    with capture_logs() as logs:
        async with desk.open(Timing()) as lease:
            await lease.acquire(pytest.fail)
            desk.stay_away(trouble)
            began = time.monotonic()
    assert time.monotonic() - began < 3
    assert told(logs) == ["lease.trouble", "lease.not_released"]


async def test_leaving_what_is_not_ours_asks_nothing(desk: Desk) -> None:
    """Who only waited has nothing to let go of."""
    desk.put("other")
    async with desk.open() as lease:
        waiting = Waiting(lease)
        await waiting.until_told()
        waiting.task.cancel()
        desk.stay_away(hang)
        calls = desk.calls
    assert desk.calls == calls
