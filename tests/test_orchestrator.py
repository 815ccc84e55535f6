"""The loops, over a backplane that acts when the test lets it, and in a time that passes when the test says so."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from itertools import repeat

import pytest
from structlog.testing import capture_logs

from mso.backplane import BackplaneError, DeployError, Recollection
from mso.changes import ModelRemoved, SimulationAdopted, SimulationEnded, SimulationForgotten, SimulationReady
from mso.model import (
    NO_EXIT_CODE,
    FailurePolicy,
    Mark,
    ModelSpec,
    Ready,
    Reason,
    State,
)
from mso.orchestrator import RETENTION_LOOK_SECONDS
from tests.builders import NOW, RUN, attempt, crash, key, known, model, order, request, spec
from tests.fakes.backplane import FakeBackplane
from tests.happening import calm
from tests.stage import HOUR, MINUTE, Stage, Time, standing_still, started_earlier


@pytest.fixture(autouse=True)
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    return standing_still(monkeypatch)


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """What failed is tried again at once."""
    monkeypatch.setattr("mso.patience.pauses", lambda *_: repeat(0.0))


# -- deploying --------------------------------------------------------------------------------------------------------


async def test_as_many_models_are_started_at_once_as_the_limit_says(time: Time) -> None:
    """The limit is reached, and never passed."""
    stage = Stage(time, deploy_concurrency=2)
    names = [f"m-{number}" for number in range(5)]
    gates = [stage.machine.shut("deploy", attempt(name)) for name in names]
    async with stage.playing():
        stage.inventory.add(order(*names))
        for opened, gate in enumerate(gates):
            await calm()
            assert stage.begun("deploy") == [attempt(name) for name in names[: opened + 2]]
            gate.set()
        await stage.orchestrator.deployment.all_deployed()
    assert stage.machine.world.starts == [attempt(name) for name in names]


async def test_a_slow_start_holds_up_nothing_else(time: Time) -> None:
    """While one is being started another one is started, and what the first announces is heard."""
    stage = Stage(time)
    gate = stage.machine.shut("answer", attempt("slow"))
    async with stage.playing():
        stage.inventory.add(order("slow", "other"))
        await stage.until(lambda: stage.outcomes == ["succeeded"])
        stage.inventory.apply(attempt("slow"), Ready())
        assert stage.model("slow").state is State.RUNNING
        gate.set()
        await stage.orchestrator.deployment.all_deployed()
    assert stage.model("slow").state is State.RUNNING
    assert stage.outcomes == ["succeeded", "succeeded"]


@pytest.mark.parametrize(
    ("refusal", "reason", "message"),
    (
        (DeployError(Reason.IMAGE_PULL_FAILED, "no such image"), Reason.IMAGE_PULL_FAILED, "no such image"),
        (BackplaneError("no room"), Reason.DEPLOY_FAILED, "not deployed within 0 s: no room"),
    ),
    ids=["never", "not in time"],
)
async def test_a_model_that_cannot_be_started_has_failed(
    time: Time, refusal: BackplaneError, reason: Reason, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its reason and the words of the backplane are told, and the other models of its run go on (fault D1)."""
    stage = Stage(time, deploy_timeout=timedelta(0))
    monkeypatch.setitem(stage.machine.world.refuse, "bad:1", refusal)
    async with stage.playing():
        await stage.deployed("a", spec("b", "bad:1"), "c")
    refused = stage.model("b")
    assert (refused.state, refused.reason, refused.exit_code, refused.message) == (
        State.FAILED,
        reason,
        NO_EXIT_CODE,
        message,
    )
    assert [stage.model(name).state for name in "ac"] == [State.CREATED, State.CREATED]
    assert stage.machine.world.starts == [attempt("a"), attempt("c")]
    assert stage.outcomes == ["succeeded", "failed", "succeeded"]


async def test_a_model_that_ended_while_it_waited_is_not_started(time: Time) -> None:
    """Its end has been told."""
    stage = Stage(time, deploy_concurrency=1)
    gate = stage.machine.shut("deploy", attempt("a"))
    async with stage.playing():
        stage.inventory.add(order("a", "b"))
        await calm()
        stage.inventory.apply(attempt("b"), crash())
        gate.set()
        await stage.orchestrator.deployment.all_deployed()
    assert stage.machine.world.starts == [attempt("a")]


async def test_what_waits_to_be_started_is_known(time: Time) -> None:
    """At the end of the service nothing is forgotten in its count: neither what waits nor what is under way."""
    stage = Stage(time, deploy_concurrency=1)
    gate = stage.machine.shut("deploy", attempt("a"))
    async with stage.playing():
        stage.inventory.add(order("a", "b", "c"))
        await calm()
        assert stage.orchestrator.deployment.undeployed == 3
        gate.set()
        await stage.orchestrator.deployment.all_deployed()
        assert stage.orchestrator.deployment.undeployed == 0


async def test_a_start_is_told_with_its_image(time: Time) -> None:
    """One event for each attempt that was started."""
    stage = Stage(time)
    with capture_logs() as logs:
        async with stage.playing():
            await stage.deployed(spec("m-0", "image:7"))
    assert logs == [
        {
            "event": "model.deployed",
            "log_level": "info",
            "simulation": "sim-1",
            "run": 1,
            "model": "m-0",
            "image": "image:7",
        }
    ]


# -- watching ---------------------------------------------------------------------------------------------------------


async def test_a_model_that_vanished_is_noticed_at_the_next_listing(time: Time) -> None:
    """Nobody saw its end, and still it has one (fault P1)."""
    stage = Stage(time)
    async with stage.playing():
        await stage.deployed("a", "b")
        await stage.machine.look()
        assert stage.model("a").state is State.CREATED
        stage.machine.world.vanish(attempt("a"))
        await stage.machine.look()
    assert (stage.model("a").state, stage.model("a").reason) == (State.FAILED, Reason.POD_DELETED)
    assert stage.model("b").state is State.CREATED


async def test_each_whole_listing_is_noted(time: Time) -> None:
    """How old the last one is tells an operator whether MSO still sees (fault K3)."""
    stage = Stage(time)
    async with stage.playing():
        await stage.deployed("m-0")
        await stage.machine.see(stage.machine.sight(attempt()))
        assert stage.listings == 0
        await stage.machine.look()
        await stage.machine.look()
    assert stage.listings == 2


async def test_a_listing_that_began_before_a_start_says_nothing_about_it(time: Time) -> None:
    """What is not in it may only be too young (fault K9)."""
    stage = Stage(time)
    async with stage.playing():
        before = stage.machine.listing()
        time.move(1)
        await stage.deployed("m-0")
        await stage.machine.see(before)
        assert stage.model().state is State.CREATED
        await stage.machine.look()
        assert stage.model().state is State.CREATED


async def test_a_model_whose_start_is_under_way_is_not_missing(time: Time) -> None:
    """Before its deployment returned it need not be in any listing."""
    stage = Stage(time)
    gate = stage.machine.shut("deploy", attempt())
    async with stage.playing():
        stage.inventory.add(order("m-0"))
        await stage.until(lambda: stage.begun("deploy"))
        await stage.machine.look()
        gate.set()
        await stage.orchestrator.deployment.all_deployed()
    assert stage.model().state is State.CREATED


async def test_what_is_seen_twice_changes_nothing_the_second_time(time: Time) -> None:
    """An observation is a level: told again, alone or in a listing, it is no news."""
    stage = Stage(time)
    async with stage.playing():
        await stage.deployed("m-0")
        await stage.machine.finish(attempt(), 3)
        before = list(stage.changes)
        await stage.machine.see(stage.machine.sight(attempt()))
        await stage.machine.look()
    assert stage.model().exit_code == 3
    assert stage.changes == before


async def test_a_model_that_ended_may_vanish(time: Time) -> None:
    """It keeps its first end, and nothing is said about it again."""
    stage = Stage(time)
    async with stage.playing():
        await stage.ended("m-0")
        stage.machine.world.vanish(attempt())
        await stage.machine.look()
    assert stage.model().state is State.SUCCEEDED


# -- adopting ---------------------------------------------------------------------------------------------------------


async def test_what_runs_already_is_adopted(time: Time) -> None:
    """It is followed from the first listing on, and not started again."""
    stage = Stage(time, await started_earlier(model("a"), model("b")))
    async with stage.playing():
        await stage.machine.see(*map(stage.machine.sight, stage.machine.world.attempts))
        assert not stage.orchestrator.recovered.is_set()
        await stage.machine.see(stage.machine.listing())
        assert stage.orchestrator.recovered.is_set()
        await stage.machine.finish(attempt("a"), 3)
        stage.machine.world.vanish(attempt("b"))
        await stage.machine.look()
    assert isinstance(stage.changes[0], SimulationAdopted)
    assert stage.changes[0].living == 2
    assert (stage.model("a").exit_code, stage.model("b").reason) == (3, Reason.POD_DELETED)
    assert stage.machine.acts == []


async def test_a_run_that_was_announced_as_ready_is_adopted_as_ready(time: Time) -> None:
    """No second ModelsReady goes out, and nobody waits for another ReadyForProcessing."""
    stage = Stage(time, await started_earlier(model(), marks=(Mark.READY,)), ready_timeout=MINUTE)
    async with stage.playing():
        await stage.machine.look()
        await stage.wait(HOUR)
    assert stage.model().state is State.RUNNING
    assert [change for change in stage.changes if isinstance(change, SimulationReady)] == []


async def test_the_time_to_be_ready_begins_anew_when_a_model_is_adopted(time: Time) -> None:
    """It may have been ready long ago, and what it said since is still at the broker: a restart fails no model."""
    old = model(spec=spec(ready_timeout=HOUR), since=NOW - 10 * HOUR)
    stage = Stage(time, await started_earlier(old))
    async with stage.playing():
        await stage.machine.look()
        await stage.wait(HOUR - MINUTE)
        assert stage.model().state is State.CREATED
        await stage.wait(2 * MINUTE)
        assert stage.model().reason is Reason.READY_TIMEOUT


async def test_a_run_that_was_being_stopped_gets_a_new_grace(time: Time) -> None:
    """Then it is removed."""
    stage = Stage(time, await started_earlier(model(), marks=(Mark.STOPPING,)), stop_grace=MINUTE)
    async with stage.playing():
        await stage.machine.look()
        await stage.wait(MINUTE / 2)
        assert not stage.begun("stop_run")
        await stage.wait(MINUTE)
        assert len(stage.begun("stop_run")) == 1


async def test_a_run_that_a_failure_stops_is_marked_so(time: Time) -> None:
    """STOP_ALL has no message that could be delivered again: a new process knows it from the mark."""
    stage = Stage(time)
    async with stage.playing():
        await stage.deployed("m-0", "m-1", failure_policy=FailurePolicy.STOP_ALL)
        await stage.machine.finish(attempt(), 1)
        await stage.until(lambda: stage.begun("mark") == [RUN])
    assert Mark.STOPPING in stage.machine.world.marks[RUN]


async def test_a_run_that_was_reported_is_only_kept_for_its_logs(time: Time) -> None:
    """Its end is not told again; it is removed when its time is over."""
    world = await started_earlier(model(request=request(keep_logs=HOUR)), marks=(Mark.REPORTED,))
    world.finish(attempt(), 0)
    stage = Stage(time, world)
    async with stage.playing():
        await stage.machine.look()
        await stage.wait(HOUR - MINUTE)
        assert stage.machine.acts == []
        await stage.wait(2 * MINUTE)
        assert stage.machine.acts == [("remove_run", RUN)]
    assert [type(change) for change in stage.changes] == [SimulationAdopted, ModelRemoved, SimulationForgotten]


async def test_what_lives_of_a_run_that_was_reported_is_removed(time: Time) -> None:
    """An earlier process gave it up, and did not come to end it."""
    world = await started_earlier(model(request=request(keep_logs=HOUR)), marks=(Mark.REPORTED,))
    stage = Stage(time, world)
    async with stage.playing():
        await stage.machine.look()
        await calm()
    assert stage.machine.acts == [("stop_run", RUN)]
    assert world.attempts[attempt()].end is not None


@pytest.mark.parametrize("backwards", (False, True))
async def test_the_newest_attempt_of_a_model_is_adopted(time: Time, backwards: bool) -> None:
    """What is left of earlier ones is not the model."""
    again = spec("m-0", retries=1)
    world = await started_earlier(model(spec=again), model(spec=again, attempt=2))
    world.finish(attempt(), 1)
    stage = Stage(time, world)
    async with stage.playing():
        sights = [stage.machine.sight(one) for one in sorted(world.attempts, reverse=backwards)]
        await stage.machine.see(*sights, stage.machine.listing())
        assert [type(change) for change in stage.changes] == [SimulationAdopted]
        assert (stage.model().attempt, stage.model().state) == (2, State.CREATED)
        await stage.machine.finish(attempt(number=2), 0)
    assert stage.model().state is State.SUCCEEDED


async def test_what_cannot_be_recalled_is_said_and_the_others_are_adopted(time: Time) -> None:
    """One damaged file costs one model."""

    def damaged() -> Recollection:
        raise BackplaneError("damaged")

    stage = Stage(time, await started_earlier(model("a"), model("b")))
    sights = [stage.machine.sight(attempt("a")), replace(stage.machine.sight(attempt("b")), recall=damaged)]
    async with stage.playing():
        with capture_logs() as logs:
            await stage.machine.see(*sights, stage.machine.listing())
    assert stage.model("a").state is State.CREATED
    assert stage.inventory.model(key("b")) is None
    assert logs == [
        {"event": "model.not_adopted", "log_level": "error", "attempt": "sim-1/1/b#1", "why": "damaged"},
    ]


async def test_a_run_of_which_nothing_can_be_recalled_is_left_alone(time: Time) -> None:
    """There is nobody to tell, and nothing is removed."""

    def damaged() -> Recollection:
        raise BackplaneError("damaged")

    stage = Stage(time, await started_earlier(model()))
    async with stage.playing():
        sight = replace(stage.machine.sight(attempt()), recall=damaged)
        await stage.machine.see(sight, stage.machine.listing())
    assert (stage.changes, stage.machine.acts) == ([], [])
    assert stage.orchestrator.recovered.is_set()


async def test_what_could_not_be_recalled_is_asked_again_while_it_is_there(time: Time) -> None:
    """Each listing is a chance, and what is no longer listed has had its last one."""
    recollections = iter([BackplaneError("the disk is away"), BackplaneError("the disk is away"), None])

    def recall() -> Recollection:
        if error := next(recollections):
            raise error
        return Recollection(model())

    stage = Stage(time, await started_earlier(model()))
    sight, listing = replace(stage.machine.sight(attempt()), recall=recall), stage.machine.listing()
    async with stage.playing():
        await stage.machine.see(sight, listing)
        await stage.machine.see(replace(listing, present=frozenset()))
        await stage.machine.see(sight, listing)
        assert stage.changes == []
        await stage.machine.see(sight, listing)
    assert stage.model().state is State.CREATED


async def test_the_time_of_an_adopted_attempt_begins_anew(time: Time) -> None:
    """A restart, and a clock that was set meanwhile, end no model; in a cluster its pod knows how old it is."""
    limited = spec("m-0", retries=1, max_runtime=MINUTE)
    retried = model(spec=limited, attempt=2, created_at=NOW - HOUR, since=NOW - HOUR)
    stage = Stage(time, await started_earlier(retried))
    async with stage.playing():
        await stage.machine.look()
        await stage.wait(MINUTE / 2)
        assert stage.model().state is State.CREATED
        await stage.wait(MINUTE)
        assert stage.model().reason is Reason.RUNTIME_EXCEEDED


async def test_a_failed_attempt_that_is_found_is_retried(time: Time) -> None:
    """Its log is read and it is removed first, as if it had failed now."""
    world = await started_earlier(model(spec=spec("m-0", retries=1)))
    world.finish(attempt(), 1)
    stage = Stage(time, world)
    async with stage.playing():
        await stage.machine.look()
        stage.orchestrator.examined(attempt(), crash())
        await stage.until(lambda: stage.begun("deploy"))
    assert stage.machine.acts == [("remove", attempt()), ("deploy", attempt(number=2))]


async def test_nothing_is_adopted_again_after_it_was_forgotten(time: Time) -> None:
    """A stale listing shows what has been removed; it comes to life for nobody."""
    stage = Stage(time)
    async with stage.playing():
        await stage.ended("m-0")
        stale = (stage.machine.sight(attempt()), stage.machine.listing())
        await stage.reported()
        await stage.until(lambda: stage.inventory.run(RUN) is None)
        before = list(stage.changes)
        await stage.machine.see(*stale)
        await calm()
    assert stage.inventory.run(RUN) is None
    assert stage.changes == before


async def test_a_stranger_in_a_known_run_is_left_alone(time: Time) -> None:
    """What nobody here asked for is neither followed nor removed."""
    stage = Stage(time)
    async with stage.playing():
        await stage.deployed("m-0")
        await FakeBackplane(stage.machine.world).deploy(model("stranger"))
        await stage.machine.look()
        await calm()
    assert stage.inventory.model(key("stranger")) is None
    assert stage.machine.acts == [("deploy", attempt())]


# -- time limits ------------------------------------------------------------------------------------------------------


async def test_a_model_that_is_not_ready_in_time_has_failed(time: Time) -> None:
    """Its own limit goes before the one of the operator, which is for models that have none (fault P5)."""
    stage = Stage(time, ready_timeout=2 * MINUTE)
    models = (spec("quick", ready_timeout=MINUTE), spec("usual"), spec("slow", ready_timeout=HOUR))
    states = []
    async with stage.playing():
        await stage.deployed(*models)
        for _ in range(3):
            await stage.wait(MINUTE - timedelta(seconds=1))
            states.append([stage.model(name).reason for name in ("quick", "usual", "slow")])
    late = Reason.READY_TIMEOUT
    assert states == [[None, None, None], [late, None, None], [late, late, None]]


async def test_without_a_limit_a_model_may_boot_for_ever(time: Time) -> None:
    """Neither its request nor the operator said anything else."""
    stage = Stage(time)
    async with stage.playing():
        await stage.deployed("m-0")
        await stage.wait(1000 * HOUR)
    assert stage.model().state is State.CREATED


async def test_a_model_that_was_ready_in_time_is_left_alone(time: Time) -> None:
    """Also when it was ready before its start had returned."""
    stage = Stage(time, ready_timeout=MINUTE)
    gate = stage.machine.shut("answer", attempt("early"))
    async with stage.playing():
        stage.inventory.add(order("early", "later"))
        await stage.until(lambda: stage.outcomes)
        for name in ("early", "later"):
            stage.inventory.apply(attempt(name), Ready())
        gate.set()
        await stage.orchestrator.deployment.all_deployed()
        await stage.wait(HOUR)
    assert [stage.model(name).state for name in ("early", "later")] == [State.RUNNING, State.RUNNING]


async def test_the_time_of_an_attempt_is_not_that_of_the_next(time: Time) -> None:
    """What was due for the first attempt does not meet the second."""
    stage = Stage(time)
    async with stage.playing():
        await stage.deployed(spec("m-0", retries=1, ready_timeout=MINUTE, max_runtime=MINUTE))
        await stage.wait(MINUTE / 2)
        await stage.machine.finish(attempt(), 1)
        stage.orchestrator.examined(attempt(), crash())
        await stage.until(lambda: len(stage.outcomes) == 2)
        await stage.wait(MINUTE * 3 / 4)
        assert (stage.model().attempt, stage.model().state) == (2, State.CREATED)
        await stage.wait(MINUTE)
        assert stage.model().reason is Reason.READY_TIMEOUT


async def test_a_model_that_runs_for_too_long_has_failed(time: Time) -> None:
    """Ready or not."""
    stage = Stage(time)
    async with stage.playing():
        await stage.deployed(spec("ready", max_runtime=HOUR), spec("booting", max_runtime=HOUR))
        stage.inventory.apply(attempt("ready"), Ready())
        await stage.wait(HOUR - MINUTE)
        assert [stage.model(name).reason for name in ("ready", "booting")] == [None, None]
        await stage.wait(2 * MINUTE)
    assert [stage.model(name).reason for name in ("ready", "booting")] == [Reason.RUNTIME_EXCEEDED] * 2


@pytest.mark.parametrize("limited", (spec(ready_timeout=MINUTE), spec(max_runtime=MINUTE)), ids=("ready", "runtime"))
async def test_what_is_given_up_is_removed_after_its_log_was_read(time: Time, limited: ModelSpec) -> None:
    """Its process still runs and must not go on, but what it wrote is wanted first (fault L1)."""
    stage = Stage(time)
    async with stage.playing():
        await stage.deployed(limited)
        await stage.wait(HOUR)
        assert stage.begun("remove") == []
        stage.orchestrator.examined(attempt(), stage.failed())
        await stage.until(lambda: stage.begun("remove"))
        await calm()
    assert stage.machine.world.attempts[attempt()].end is not None


@pytest.mark.parametrize("reason", Reason)
async def test_what_ended_by_itself_is_not_removed(time: Time, reason: Reason) -> None:
    """It stays for its log; only what may still run, or begin to, is in the way."""
    may_still_run = {
        Reason.READY_TIMEOUT,
        Reason.RUNTIME_EXCEEDED,
        Reason.IMAGE_PULL_FAILED,
        Reason.UNSCHEDULABLE,
        Reason.NODE_LOST,
        Reason.DEPLOY_FAILED,
    }
    stage = Stage(time)
    async with stage.playing():
        await stage.deployed("m-0")
        stage.inventory.apply(attempt(), crash(reason=reason))
        stage.orchestrator.examined(attempt(), stage.failed())
        await calm()
    assert stage.begun("remove") == ([attempt()] if reason in may_still_run else [])


async def test_the_sweep_sleeps_until_something_is_due(monkeypatch: pytest.MonkeyPatch, time: Time) -> None:
    """By a real clock: a limit passes without anybody looking at the time."""
    monkeypatch.undo()
    stage = Stage(time)
    async with stage.playing():
        await stage.deployed(spec("slow", ready_timeout=HOUR), spec("m-0", ready_timeout=timedelta(milliseconds=20)))
        await stage.until(lambda: stage.model().state.terminal)
    assert stage.model("slow").state is State.CREATED


# -- retrying ---------------------------------------------------------------------------------------------------------


async def test_the_next_attempt_comes_when_the_last_was_examined_and_removed(time: Time) -> None:
    """Two attempts of one model never run at the same time, and the log of the first is not lost."""
    stage = Stage(time)
    gate = stage.machine.shut("remove", attempt())
    async with stage.playing():
        await stage.deployed(spec("m-0", retries=1))
        await stage.machine.finish(attempt(), 1)
        await calm()
        assert stage.machine.acts == [("deploy", attempt())]
        stage.orchestrator.examined(attempt(), crash())
        await calm()
        assert stage.machine.acts == [("deploy", attempt()), ("remove", attempt())]
        gate.set()
        await stage.until(lambda: len(stage.machine.acts) > 2)
    assert stage.machine.acts[2:] == [("deploy", attempt(number=2))]


async def test_the_last_attempt_of_a_model_is_its_end(time: Time) -> None:
    """With all retries used up it has FAILED, and nothing is started any more."""
    stage = Stage(time)
    async with stage.playing():
        await stage.deployed(spec("m-0", retries=2))
        for number in (1, 2, 3):
            await calm()
            await stage.machine.finish(attempt(number=number), number)
            stage.orchestrator.examined(attempt(number=number), crash(number))
        await calm()
    assert (stage.model().state, stage.model().exit_code) == (State.FAILED, 3)
    assert stage.machine.world.starts == [attempt(number=number) for number in (1, 2, 3)]


async def test_a_retry_of_a_stopped_simulation_is_not_started(time: Time) -> None:
    """It was stopped between two attempts: the second one ends before it begins."""
    stage = Stage(time)
    async with stage.playing():
        await stage.deployed(spec("m-0", retries=1))
        await stage.machine.finish(attempt(), 1)
        stage.inventory.stop(RUN, "SimulationDone")
        stage.orchestrator.examined(attempt(), crash())
        await stage.until(lambda: stage.model().state.terminal)
    assert (stage.model().reason, stage.machine.world.starts) == (Reason.STOPPED, [attempt()])


async def test_a_retry_waits_for_a_start_that_is_under_way(time: Time) -> None:
    """A start that is tried again by the backplane would bring back what was removed before it."""
    stage = Stage(time)
    gate = stage.machine.shut("answer", attempt())
    async with stage.playing():
        stage.inventory.add(order(spec("m-0", retries=1)))
        await stage.until(lambda: stage.machine.world.starts)
        await stage.machine.finish(attempt(), 1)
        stage.orchestrator.examined(attempt(), crash())
        await calm()
        assert stage.begun("remove") == []
        gate.set()
        await stage.until(lambda: len(stage.begun("deploy")) == 2)
    assert stage.machine.acts[1:] == [("remove", attempt()), ("deploy", attempt(number=2))]


# -- stopping ---------------------------------------------------------------------------------------------------------


async def test_what_waits_to_be_started_is_dropped_when_its_simulation_is_stopped(time: Time) -> None:
    """It ends as Stopped, and never runs (fault D8)."""
    stage = Stage(time, deploy_concurrency=1)
    gate = stage.machine.shut("deploy", attempt("a"))
    async with stage.playing():
        stage.inventory.add(order("a", "b", "c"))
        await stage.until(lambda: stage.begun("deploy"))
        stage.inventory.stop(RUN, "SimulationDone")
        gate.set()
        await stage.orchestrator.deployment.all_deployed()
    assert [stage.model(name).reason for name in "abc"] == [None, Reason.STOPPED, Reason.STOPPED]
    assert stage.machine.world.starts == [attempt("a")]


async def test_a_start_that_is_under_way_is_awaited_before_the_removal(time: Time) -> None:
    """Else it would come to life behind it."""
    stage = Stage(time, stop_grace=MINUTE)
    gate = stage.machine.shut("deploy", attempt())
    async with stage.playing():
        stage.inventory.add(order("m-0"))
        await stage.until(lambda: stage.begun("deploy"))
        stage.inventory.stop(RUN, "SimulationDone")
        await stage.wait(HOUR)
        assert stage.begun("stop_run") == []
        gate.set()
        await stage.until(lambda: stage.begun("stop_run"))
        await calm()
        await stage.machine.look()
    assert (stage.machine.world.starts, stage.model().reason) == ([attempt()], Reason.STOPPED)


async def test_what_ends_well_within_the_grace_has_succeeded(time: Time) -> None:
    """The others are stopped when it is over, and the simulation has ended."""
    stage = Stage(time, stop_grace=MINUTE)
    async with stage.playing():
        await stage.deployed("obeys", "lingers")
        stage.inventory.stop(RUN, "SimulationDone")
        await stage.machine.finish(attempt("obeys"), 0)
        await stage.wait(MINUTE / 2)
        assert stage.begun("stop_run") == []
        await stage.wait(MINUTE)
        assert stage.begun("stop_run") == [RUN]
        await stage.machine.look()
    assert stage.model("obeys").state is State.SUCCEEDED
    assert (stage.model("lingers").state, stage.model("lingers").reason) == (State.FAILED, Reason.STOPPED)
    assert isinstance(stage.changes[-1], SimulationEnded)


async def test_a_failure_stops_the_others_where_the_request_says_so(time: Time) -> None:
    """STOP_ALL is a SimulationDone that nobody had to send."""
    stage = Stage(time, stop_grace=MINUTE)
    async with stage.playing():
        await stage.deployed("fails", "lives", failure_policy=FailurePolicy.STOP_ALL)
        await stage.machine.finish(attempt("fails"), 1)
        await stage.wait(2 * MINUTE)
        await stage.machine.look()
    assert [stage.model(name).reason for name in ("fails", "lives")] == [Reason.ERROR, Reason.STOPPED]


async def test_a_removal_that_did_not_take_hold_is_asked_for_again(time: Time) -> None:
    """With each listing, until one shows that nothing lives; not while one is under way."""
    stage = Stage(time, stop_grace=MINUTE)
    stage.machine.deaf = True
    gate = stage.machine.shut("stop_run", RUN)
    async with stage.playing():
        await stage.deployed("m-0")
        stage.inventory.stop(RUN, "SimulationDone")
        await stage.machine.look()
        assert stage.begun("stop_run") == []
        await stage.wait(2 * MINUTE)
        await stage.machine.look()
        await calm()
        assert stage.begun("stop_run") == [RUN]
        gate.set()
        await calm()
        stage.machine.deaf = False
        await stage.machine.look()
        await calm()
        assert stage.begun("stop_run") == [RUN, RUN]
        for _ in range(3):
            await stage.machine.look()
            await calm()
    assert stage.model().reason is Reason.STOPPED
    assert stage.begun("stop_run") == [RUN, RUN]


# -- keeping ----------------------------------------------------------------------------------------------------------


async def test_a_run_is_removed_when_its_logs_were_kept_for_as_long_as_was_asked(time: Time) -> None:
    """At its last end and keepLogsHours, and then nothing of it is known any more (fault C1)."""
    stage = Stage(time)
    async with stage.playing():
        await stage.deployed("a", "b", keep_logs=10 * HOUR)
        await stage.machine.finish(attempt("a"), 0)
        await stage.wait(5 * HOUR)
        await stage.machine.finish(attempt("b"), 0)
        await stage.reported()
        for _ in range(9):
            await stage.wait(HOUR)
        assert stage.begun("remove_run") == []
        await stage.wait(HOUR)
        assert stage.begun("remove_run") == [RUN]
    assert stage.inventory.run(RUN) is None
    assert [change.model.key for change in stage.changes if isinstance(change, ModelRemoved)] == [key("a"), key("b")]
    assert stage.machine.world.attempts == {}


async def test_nothing_is_removed_before_its_end_was_reported(time: Time) -> None:
    """While the broker is away everything is kept; later the time of keeping is long over."""
    stage = Stage(time)
    async with stage.playing():
        await stage.ended("m-0", keep_logs=HOUR)
        await stage.wait(1000 * HOUR)
        assert stage.begun("remove_run") == []
        await stage.reported()
        await stage.until(lambda: stage.begun("remove_run"))


async def test_nothing_is_removed_before_every_log_was_read(time: Time) -> None:
    """Somebody still looks at what is to go (fault L1)."""
    stage = Stage(time)
    stage.settled.clear()
    async with stage.playing():
        await stage.ended("m-0")
        await stage.reported()
        await calm()
        assert stage.begun("remove_run") == []
        stage.settled.set()
        await stage.until(lambda: stage.begun("remove_run"))


async def test_a_removal_waits_for_a_start_that_is_under_way(time: Time) -> None:
    """A model can end before the answer to its deployment comes; what is removed must not be started again."""
    stage = Stage(time)
    gate = stage.machine.shut("answer", attempt())
    async with stage.playing():
        stage.inventory.add(order("m-0"))
        await stage.until(lambda: stage.machine.world.starts)
        await stage.machine.finish(attempt(), 0)
        await stage.reported()
        await calm()
        assert stage.begun("remove_run") == []
        gate.set()
        await stage.until(lambda: stage.inventory.run(RUN) is None)
        await stage.machine.look()


async def test_a_long_retention_is_looked_at_every_hour(time: Time) -> None:
    """It goes by the calendar: should somebody set that, it is noticed within the hour."""
    stage = Stage(time)
    async with stage.playing():
        await stage.ended("m-0", keep_logs=240 * HOUR)
        await stage.reported()
        await stage.wait(MINUTE)
        time.set_ahead = 300 * HOUR
        await stage.wait(timedelta(seconds=RETENTION_LOOK_SECONDS) - 2 * MINUTE)
        assert stage.begun("remove_run") == []
        await stage.wait(2 * MINUTE)
        assert stage.begun("remove_run") == [RUN]


async def test_a_run_that_is_kept_does_not_hold_up_the_next(time: Time) -> None:
    """The id comes again while the logs of the last run are there, and only those are removed."""
    stage = Stage(time)
    async with stage.playing():
        await stage.ended("m-0", keep_logs=HOUR)
        await stage.reported()
        await stage.deployed("m-0")
        await stage.wait(2 * HOUR)
        assert stage.inventory.run(RUN) is None
        await stage.machine.look()
    assert known(stage.inventory, key(run=2)).state is State.CREATED
    assert list(stage.machine.world.attempts) == [attempt(run=2)]


# -- trouble ----------------------------------------------------------------------------------------------------------


async def stop_it(stage: Stage) -> None:
    stage.inventory.stop(RUN, "SimulationDone")
    await stage.wait(HOUR)


async def retry_it(stage: Stage) -> None:
    await stage.machine.finish(attempt(), 1)
    stage.orchestrator.examined(attempt(), crash())


async def end_it(stage: Stage) -> None:
    """What is in the way is not in the way of the mark, which comes first."""
    for number in (1, 2):
        stage.inventory.apply(attempt(number=number), crash())
    trouble, stage.machine.world.trouble = stage.machine.world.trouble, None
    gate = stage.machine.shut("remove_run", RUN)
    await stage.reported()
    stage.machine.world.trouble = trouble
    gate.set()


CHORES = {"stop_run": stop_it, "remove": retry_it, "remove_run": end_it}
"""What leads to which act of the backplane, for a model that has one retry."""


@pytest.mark.parametrize("act", CHORES)
async def test_what_the_backplane_cannot_do_now_is_tried_again_without_end(time: Time, act: str) -> None:
    """It is said each time, and done once the backplane can; nothing is lost over it."""
    stage = Stage(time)
    async with stage.playing():
        await stage.deployed(spec("m-0", retries=1))
        with capture_logs() as logs:
            stage.machine.world.trouble = BackplaneError("away")
            await CHORES[act](stage)
            await stage.until(lambda: len(stage.begun(act)) > 50)
            stage.machine.world.trouble = None
            await calm()
        tries = len(stage.begun(act))
        await stage.machine.look()
        await calm()
        assert len(stage.begun(act)) == tries
    match act:
        case "stop_run":
            assert stage.model().reason is Reason.STOPPED
        case "remove":
            assert stage.machine.world.starts == [attempt(), attempt(number=2)]
        case _:
            assert stage.inventory.run(RUN) is None
    said = [event for event in logs if event["event"] == "backplane.retrying" and "mark" not in event["act"]]
    assert len(said) == tries - 1
    assert {(event["log_level"], event["why"]) for event in said} == {("warning", "away")}


async def test_a_mark_is_written_for_as_long_as_that_takes(time: Time) -> None:
    """Whoever waits for it waits on."""
    stage = Stage(time)
    async with stage.playing():
        await stage.deployed("m-0")
        stage.machine.world.trouble = BackplaneError("away")
        marking = asyncio.create_task(stage.orchestrator.mark(RUN, Mark.READY))
        await stage.until(lambda: len(stage.begun("mark")) > 50)
        stage.machine.world.trouble = None
        await marking
    assert stage.machine.world.marks == {RUN: {Mark.READY}}


async def nothing(_: Stage) -> None:
    """The act comes by itself."""


@pytest.mark.parametrize(("act", "lead"), (("watch", nothing), ("deploy", nothing), *CHORES.items()))
async def test_a_bug_of_the_backplane_ends_the_loop(
    time: Time, act: str, lead: Callable[[Stage], Awaitable[None]]
) -> None:
    """Nobody goes on in a state that nobody foresaw: the service ends, and a clean one begins."""
    stage = Stage(time)
    stage.machine.bugs[act] = LookupError("not foreseen")
    with pytest.RaisesGroup(pytest.RaisesExc(LookupError, match="not foreseen"), flatten_subgroups=True):
        async with stage.playing():
            await stage.deployed(spec("m-0", retries=1))
            await lead(stage)
            await asyncio.Event().wait()
