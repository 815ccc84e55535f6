"""Whole runs of an earlier process: those that were being stopped, were kept, or waited for room; and unknown ones."""

from datetime import timedelta
from itertools import repeat

import pytest

from mso.changes import SimulationAdopted, SimulationRemoving, SimulationRestored, SimulationStopping
from mso.ledger import KnownModel, KnownRun
from mso.model import Model, Reason, RunKey, State
from tests.builders import NOW, RUN, attempt, crash, kept, known, left, model, order, request, spec
from tests.builders import key as model_key
from tests.fakes.backplane import FakeBackplane, World
from tests.happening import calm
from tests.stage import HOUR, MINUTE, Stage, Time, standing_still, started_earlier

SECOND = timedelta(seconds=1)


@pytest.fixture(autouse=True)
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    return standing_still(monkeypatch)


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """What failed is tried again at once."""
    monkeypatch.setattr("mso.patience.pauses", lambda *_: repeat(0.0))


# -- stopping ---------------------------------------------------------------------------------------------------------


async def test_a_run_that_was_being_stopped_gets_a_new_grace(time: Time) -> None:
    """Nobody knows how much of the last one is over: what ends by itself within it has succeeded."""
    stage = Stage(time, await started_earlier(model("obeys"), model("lingers")), stop_grace=MINUTE)
    stage.resume(left(kept(model("obeys"), model("lingers"), stopping=True)))
    async with stage.playing():
        await stage.machine.look()
        await stage.wait(MINUTE / 2)
        await stage.machine.finish(attempt("obeys"), 0)
        assert stage.begun("stop_run") == []
        await stage.wait(MINUTE)
        assert stage.begun("stop_run") == [RUN]
        await stage.machine.look()
    assert (stage.model("obeys").state, stage.model("lingers").reason) == (State.SUCCEEDED, Reason.STOPPED)
    assert not [change for change in stage.changes if isinstance(change, SimulationStopping)]


async def test_what_was_never_started_of_a_run_that_was_being_stopped_never_is(time: Time) -> None:
    """It ends as Stopped."""
    stage = Stage(time)
    stage.resume(left(kept(model("a"), model("b"), deployed=False, stopping=True)))
    async with stage.playing():
        await stage.machine.look()
        await stage.orchestrator.deployment.all_deployed()
    assert [stage.model(name).reason for name in "ab"] == [Reason.STOPPED, Reason.STOPPED]
    assert (stage.machine.world.starts, stage.outcomes) == ([], [])


async def test_what_was_being_removed_is_removed_again(time: Time) -> None:
    """At once, until a listing shows that nothing lives; what ended by itself meanwhile keeps its end."""
    stage = Stage(time, await started_earlier(model("a"), model("b"), model("c")), stop_grace=HOUR)
    stage.machine.world.finish(attempt("a"), 0, by_itself=False)
    stage.machine.world.finish(attempt("c"), 0)
    stage.machine.deaf = True
    stage.resume(left(kept(model("a"), model("b"), model("c"), stopping=True, removing_since=NOW)))
    async with stage.playing():
        await stage.machine.look()
        await calm()
        assert stage.begun("stop_run") == [RUN]
        stage.machine.deaf = False
        for _ in range(3):
            await stage.machine.look()
            await calm()
    assert [stage.model(name).reason for name in "abc"] == [Reason.STOPPED, Reason.STOPPED, Reason.COMPLETED]
    assert stage.begun("stop_run") == [RUN, RUN]
    assert not [change for change in stage.changes if isinstance(change, SimulationRemoving)]


async def test_what_was_never_started_of_a_run_that_was_being_stopped_needs_no_room_to_end(time: Time) -> None:
    """It does not wait behind others to be told that it will never run."""
    there = model("a", simulation="other")
    stage = Stage(time, await begun_by(there), max_active=1)
    stage.resume(left(kept(there), kept(model("b"), deployed=False, stopping=True)))
    async with stage.playing():
        await stage.machine.look()
        await stage.orchestrator.deployment.all_deployed()
    assert stage.model("b").reason is Reason.STOPPED


# -- keeping ----------------------------------------------------------------------------------------------------------

SUCCEEDED = model(request=request(keep_logs=HOUR), state=State.SUCCEEDED, exit_code=0, finished_at=NOW)


async def test_a_run_that_was_reported_is_kept_for_as_long_as_was_asked(time: Time) -> None:
    """From its end on, whatever was killed since; and nothing of it is marked or told again."""
    stage = Stage(time, await started_earlier(SUCCEEDED))
    stage.machine.world.finish(attempt(), 0)
    stage.resume(left(kept(SUCCEEDED, ended_at=NOW, reported_at=NOW)))
    async with stage.playing():
        await stage.machine.look()
        await stage.wait(HOUR - MINUTE)
        assert stage.machine.acts == []
        await stage.wait(2 * MINUTE)
        assert stage.machine.acts == [("remove_run", RUN)]
    assert stage.inventory.run(RUN) is None
    assert stage.machine.world.attempts == {}


async def test_a_run_whose_time_was_over_while_nobody_was_there_is_removed(time: Time) -> None:
    """Also where the kill came between its removal and the note of that."""
    stage = Stage(time)
    stage.resume(left(kept(SUCCEEDED, ended_at=NOW - 2 * HOUR, reported_at=NOW - HOUR)))
    async with stage.playing():
        await stage.machine.look()
        await calm()
    assert (stage.machine.acts, stage.inventory.run(RUN)) == ([("remove_run", RUN)], None)


async def test_a_run_that_has_ended_is_not_removed_before_that_was_reported(time: Time) -> None:
    """Its last word waits in the outbox."""
    stage = Stage(time, await started_earlier(SUCCEEDED))
    stage.machine.world.finish(attempt(), 0)
    stage.resume(left(kept(SUCCEEDED, ended_at=NOW)))
    async with stage.playing():
        await stage.machine.look()
        await stage.wait(1000 * HOUR)
        assert stage.machine.acts == []
        await stage.reported()
        await stage.until(lambda: stage.begun("remove_run"))


# -- waiting for room -------------------------------------------------------------------------------------------------


def run_of(simulation: str, *names: str, run: int = 1, opened: timedelta = timedelta(0)) -> list[Model]:
    """The models of a run that was opened then."""
    return [model(name, run, simulation, created_at=NOW + opened, since=NOW + opened) for name in names]


async def begun_by(*models: Model) -> World:
    """Where an earlier process had started these."""
    world = World()
    for one in models:
        await FakeBackplane(world).deploy(one)
    return world


def simulations(stage: Stage) -> list[str]:
    """Of which simulations models were started by this process, in order."""
    return [one.key.simulation for one in stage.begun("deploy") if not isinstance(one, RunKey)]


async def test_what_runs_takes_room_and_what_waited_waits_in_its_old_order(time: Time) -> None:
    """As they were opened, whichever simulation they are of; new ones come behind."""
    first, again = run_of("first", "a", "b"), run_of("ended", "a", "b", run=2, opened=2 * SECOND)
    ended = [model("a", 1, "ended", state=State.SUCCEEDED, exit_code=0, request=request("ended", keep_logs=HOUR))]
    second = run_of("second", "a", opened=SECOND)
    world = await begun_by(*first, *ended)
    world.finish(ended[0].current, 0)
    stage = Stage(time, world, max_active=3)
    stage.resume(
        left(
            kept(*ended, ended_at=NOW, reported_at=NOW),
            kept(*first),
            kept(*second, deployed=False),
            kept(*again, deployed=False),
        )
    )
    async with stage.playing():
        await stage.machine.look()
        stage.inventory.add(order("a", simulation="new"))
        await stage.orchestrator.deployment.all_deployed()
        assert simulations(stage) == ["second"]
        await stage.machine.finish(first[0].current, 0)
        await stage.orchestrator.deployment.all_deployed()
        assert simulations(stage) == ["second"]
        await stage.machine.finish(first[1].current, 0)
        await stage.orchestrator.deployment.all_deployed()
        assert simulations(stage) == ["second", "ended", "ended"]
        await stage.machine.finish(second[0].current, 0)
        await stage.orchestrator.deployment.all_deployed()
    assert simulations(stage) == ["second", "ended", "ended", "new"]


async def test_the_rest_of_a_run_of_which_some_were_started_is_started(time: Time) -> None:
    """Where there is room for it; the kill came in the middle."""
    there, waiting = model("there"), model("waits")
    run = kept(there, waiting)
    half = KnownRun(run.record, run.requests, (KnownModel(there, True), KnownModel(waiting, False)))
    stage = Stage(time, await started_earlier(there), max_active=2)
    stage.resume(left(half))
    async with stage.playing():
        await stage.machine.look()
        await stage.orchestrator.deployment.all_deployed()
        assert stage.machine.acts == [("deploy", attempt("waits"))]
        stage.inventory.add(order("a", simulation="new"))
        await stage.orchestrator.deployment.all_deployed()
        assert stage.orchestrator.deployment.undeployed == 1


async def test_what_was_started_without_having_been_noted_takes_room_as_well(time: Time) -> None:
    """It is found to be in."""
    stage = Stage(time, await started_earlier(model("a"), model("b")), max_active=2)
    stage.resume(left(kept(model("a"), model("b"), deployed=False)))
    async with stage.playing():
        await stage.machine.look()
        stage.inventory.add(order("a", simulation="new"))
        await stage.orchestrator.deployment.all_deployed()
        assert stage.machine.acts == []
        await stage.machine.finish(attempt("b"), 0)
        await stage.orchestrator.deployment.all_deployed()
    assert simulations(stage) == ["new"]


async def test_an_attempt_that_is_to_come_takes_room_as_well(time: Time) -> None:
    """What is in stays in, while one attempt follows another."""
    again = model(spec=spec(retries=1), attempt=2)
    stage = Stage(time, max_active=1)
    stage.resume(left(kept(again, deployed=False)))
    async with stage.playing():
        await stage.machine.look()
        await stage.until(lambda: stage.outcomes)
        stage.inventory.add(order("a", simulation="new"))
        await calm()
        assert simulations(stage) == ["sim-1"]


async def test_what_is_retried_takes_room_as_well(time: Time) -> None:
    """Its first attempt had been started without a note of that, and has failed meanwhile."""
    again = model(spec=spec(retries=1))
    stage = Stage(time, await started_earlier(again), max_active=1)
    stage.machine.world.finish(attempt(), 1)
    stage.resume(left(kept(again, deployed=False)))
    async with stage.playing():
        await stage.machine.look()
        stage.orchestrator.examined(attempt(), crash())
        await stage.until(lambda: stage.outcomes)
        stage.inventory.add(order("a", simulation="new"))
        await calm()
        assert simulations(stage) == ["sim-1"]


async def test_a_run_whose_request_was_not_complete_goes_on_waiting_and_holds_up_nobody(time: Time) -> None:
    """Its last part comes to another process."""
    part = model(request=request(more_to_come=True, digest="digest-1"))
    other = model("a", simulation="other")
    stage = Stage(time, max_active=2)
    stage.resume(left(kept(part, deployed=False), kept(other, deployed=False)))
    async with stage.playing():
        await stage.machine.look()
        await stage.orchestrator.deployment.all_deployed()
        assert simulations(stage) == ["other"]
        stage.inventory.add(order("m-0", digest="digest-2"))
        await stage.machine.look()
        await stage.orchestrator.deployment.all_deployed()
    assert simulations(stage) == ["other", "sim-1"]


# -- what was not written down ----------------------------------------------------------------------------------------


async def test_an_unknown_run_is_adopted_beside_those_that_are_known(time: Time) -> None:
    """Somebody gave this process an older ledger, or none."""
    unknown = model("x", simulation="unknown")
    stage = Stage(time, await begun_by(model("a"), unknown))
    stage.resume(left(kept(model("a"))))
    async with stage.playing():
        await stage.machine.look()
        await stage.machine.finish(unknown.current, 3)
    assert [type(change) for change in stage.changes[:2]] == [SimulationRestored, SimulationAdopted]
    assert known(stage.inventory, unknown.key).exit_code == 3
    assert stage.model("a").state is State.CREATED
    assert stage.machine.acts == []


async def test_a_stranger_in_a_run_that_is_known_is_left_alone(time: Time) -> None:
    """What nobody here asked for is neither followed nor removed."""
    stage = Stage(time, await started_earlier(model("a"), model("stranger")))
    stage.resume(left(kept(model("a"))))
    async with stage.playing():
        await stage.machine.look()
        await calm()
    assert stage.inventory.model(model_key("stranger")) is None
    assert stage.machine.acts == []


async def test_the_run_after_a_restored_one_has_the_next_number(time: Time) -> None:
    """What was started for it before is none of its business."""
    stage = Stage(time, await started_earlier(SUCCEEDED))
    stage.machine.world.finish(attempt(), 0)
    stage.resume(left(kept(SUCCEEDED, ended_at=NOW, reported_at=NOW)))
    async with stage.playing():
        await stage.machine.look()
        await stage.deployed("m-0")
        await stage.machine.look()
    assert stage.machine.world.starts[-1] == attempt(run=2)
    assert known(stage.inventory, model_key(run=2)).state is State.CREATED


async def test_with_nothing_known_nothing_is_done(time: Time) -> None:
    """The first start of all."""
    stage = Stage(time)
    stage.resume(left())
    async with stage.playing():
        await stage.machine.look()
        await calm()
    assert stage.orchestrator.recovered.is_set()
    assert (stage.changes, stage.machine.acts, stage.written) == ([], [], [])
