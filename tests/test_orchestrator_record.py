"""What is done about a Change is done when it is durable, and by what is known then."""

from itertools import repeat

import pytest

from mso.ledger import AttemptDeployed
from mso.model import Mark, Reason, State, Succeeded
from tests.builders import RUN, attempt, crash, model, order, spec
from tests.happening import calm
from tests.stage import HOUR, MINUTE, Stage, Time, standing_still, started_earlier


@pytest.fixture(autouse=True)
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    return standing_still(monkeypatch)


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """What failed is tried again at once."""
    monkeypatch.setattr("mso.patience.pauses", lambda *_: repeat(0.0))


async def test_nothing_is_started_that_another_process_would_not_know(time: Time) -> None:
    """A kill in between starts nothing that nobody follows."""
    stage = Stage(time)
    stage.record.hold()
    async with stage.playing():
        stage.inventory.add(order("a", "b"))
        await calm()
        assert stage.machine.acts == []
        stage.record.let_go()
        await stage.orchestrator.deployment.all_deployed()
    assert stage.machine.world.starts == [attempt("a"), attempt("b")]


async def test_each_start_is_noted(time: Time) -> None:
    """From then on another process takes it for gone when it is missing; one that failed was none."""
    stage = Stage(time, deploy_timeout=MINUTE)
    async with stage.playing():
        await stage.deployed(spec("a", retries=1))
        assert stage.written == [AttemptDeployed(attempt("a"))]
        await stage.machine.finish(attempt("a"), 1)
        stage.orchestrator.examined(attempt("a"), crash())
        await stage.until(lambda: len(stage.outcomes) == 2)
    assert stage.written == [AttemptDeployed(attempt("a")), AttemptDeployed(attempt("a", 2))]


async def test_what_was_stopped_before_its_start_was_durable_is_not_started(time: Time) -> None:
    """It ends as Stopped."""
    stage = Stage(time)
    stage.record.hold()
    async with stage.playing():
        stage.inventory.add(order("a", "b"))
        stage.inventory.stop(RUN, "SimulationDone")
        await calm()
        stage.record.let_go()
        await stage.orchestrator.deployment.all_deployed()
    assert [stage.model(name).reason for name in "ab"] == [Reason.STOPPED, Reason.STOPPED]
    assert stage.machine.world.starts == []


async def test_what_had_ended_before_its_start_was_durable_is_not_started(time: Time) -> None:
    """Its end stands, and it takes no room."""
    stage = Stage(time, max_active=1)
    stage.record.hold()
    async with stage.playing():
        stage.inventory.add(order("a"))
        stage.inventory.apply(attempt("a"), Succeeded())
        stage.inventory.add(order("a", simulation="sim-2"))
        stage.record.let_go()
        await stage.orchestrator.deployment.all_deployed()
    assert stage.model("a").state is State.SUCCEEDED
    assert stage.machine.world.starts == [attempt("a", simulation="sim-2")]


async def test_what_is_found_living_is_noted(time: Time) -> None:
    """As if this process had started it; what had ended, and an attempt that is still to come, is not."""
    retried = model("c", spec=spec("c", retries=1))
    world = await started_earlier(model("a"), model("b"), retried)
    world.finish(attempt("b"), 0)
    world.finish(attempt("c"), 1)
    stage = Stage(time, world)
    async with stage.playing():
        await stage.machine.look()
        assert (stage.written, stage.model("c").attempt) == ([AttemptDeployed(attempt("a"))], 2)


async def test_what_joins_an_adopted_run_takes_room_once(time: Time) -> None:
    """Also if it comes before it is durable that the run was found: there is room for it, and it is started."""
    stage = Stage(time, await started_earlier(model("a")), max_active=2)
    async with stage.playing():
        stage.record.hold()
        await stage.machine.look()
        stage.inventory.add(order("a", "b", digest="digest-2"))
        stage.record.let_go()
        await calm()
        assert stage.begun("deploy") == [attempt("b")]


async def test_what_lives_is_removed_when_it_is_durable_that_it_is(time: Time) -> None:
    """Else another process would take its end for one of its own."""
    stage = Stage(time, stop_grace=MINUTE)
    async with stage.playing():
        await stage.deployed("m-0")
        stage.inventory.stop(RUN, "SimulationDone")
        stage.record.hold()
        await stage.wait(2 * MINUTE)
        run = stage.inventory.run(RUN)
        assert run
        assert run.removing_since
        assert stage.begun("stop_run") == []
        stage.record.let_go()
        await stage.until(lambda: stage.begun("stop_run"))


async def test_a_run_is_marked_as_stopping_when_that_is_durable(time: Time) -> None:
    """For another process without a ledger."""
    stage = Stage(time)
    async with stage.playing():
        await stage.deployed("m-0")
        stage.record.hold()
        stage.inventory.stop(RUN, "SimulationDone")
        await calm()
        assert stage.begun("mark") == []
        stage.record.let_go()
        await calm()
    assert stage.machine.world.marks == {RUN: {Mark.STOPPING}}


async def test_a_run_is_marked_as_reported_before_it_is_removed(time: Time) -> None:
    """And that when it is durable: what is not marked so would be told again by a process without a ledger."""
    stage = Stage(time)
    gate = stage.machine.shut("mark", RUN)
    async with stage.playing():
        await stage.ended("m-0")
        stage.record.hold()
        await stage.reported()
        assert stage.machine.acts == [("deploy", attempt())]
        stage.record.let_go()
        await calm()
        assert stage.begun("remove_run") == []
        gate.set()
        await stage.until(lambda: stage.inventory.run(RUN) is None)
    assert stage.machine.acts[1:] == [("mark", RUN), ("remove_run", RUN)]


async def test_a_run_is_known_until_nothing_of_it_is_left(time: Time) -> None:
    """A kill before that has another process remove it again."""
    stage = Stage(time)
    gate = stage.machine.shut("remove_run", RUN)
    async with stage.playing():
        await stage.ended("m-0", keep_logs=HOUR)
        await stage.reported()
        await stage.wait(2 * HOUR)
        assert stage.begun("remove_run") == [RUN]
        assert stage.inventory.run(RUN)
        gate.set()
        await stage.until(lambda: stage.inventory.run(RUN) is None)
