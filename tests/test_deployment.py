"""Deploying what was asked for: tried until it runs, given up in time, admitted where there is room."""

from datetime import timedelta
from itertools import repeat

import pytest
from structlog.testing import capture_logs

from mso.backplane import BackplaneError
from mso.model import Reason, RunKey, SimulationId, State
from tests.builders import RUN, attempt, known, order
from tests.builders import key as model_key
from tests.happening import calm
from tests.stage import Stage, Time, standing_still

FOR_EVER = timedelta(hours=1)


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    """It passes when the test says so, and what failed is tried again at once."""
    monkeypatch.setattr("mso.deployment.pauses", lambda **_: repeat(0.0))
    return standing_still(monkeypatch)


def busy(times: int, retry_after: float = 0.0) -> list[BackplaneError]:
    """A backplane that cannot do it now, so many times."""
    error = BackplaneError("the API is busy")
    error.retry_after = retry_after
    return [error] * times


async def test_what_cannot_be_deployed_now_is_tried_again(time: Time) -> None:
    """The API was busy three times: the model runs, and is told of as one that was deployed (fault D5)."""
    stage = Stage(time, deploy_timeout=FOR_EVER)
    stage.machine.busy = busy(3)
    with capture_logs() as logs:
        async with stage.playing():
            await stage.deployed("a")
    assert stage.outcomes == ["succeeded"]
    assert stage.machine.world.starts == [attempt("a")]
    assert [entry["event"] for entry in logs if entry["event"].startswith("model.deploy")] == [
        *["model.deploy_waits"] * 3,
        "model.deployed",
    ]


async def test_the_backplane_says_how_long_to_wait(time: Time) -> None:
    """Retry-After is a lower bound (fault D5)."""
    stage = Stage(time, deploy_timeout=FOR_EVER)
    stage.machine.busy = busy(1, retry_after=0.2)
    with capture_logs() as logs:
        async with stage.playing():
            await stage.deployed("a")
    (waited,) = [entry["seconds"] for entry in logs if entry["event"] == "model.deploy_waits"]
    assert 0.2 <= waited <= 0.3


async def test_what_waits_to_be_tried_again_is_dropped_when_its_simulation_is_stopped(time: Time) -> None:
    """It is not started, and ends as Stopped."""
    stage = Stage(time, deploy_timeout=FOR_EVER)
    stage.machine.busy = busy(1_000_000)
    async with stage.playing():
        stage.inventory.add(order("a"))
        await stage.until(lambda: len(stage.begun("deploy")) > 2)
        stage.inventory.stop(RUN, "a test")
        await stage.orchestrator.deployment.all_deployed()
    assert stage.model("a").reason is Reason.STOPPED
    assert stage.machine.world.starts == []


async def test_runs_wait_for_room_whole_and_it_is_said_behind_whom(time: Time) -> None:
    """Four may live: of the second run none is started before the first has made room for all of it."""
    stage = Stage(time, max_active=4)
    with capture_logs() as logs:
        async with stage.playing():
            await stage.deployed("a", "b", "c", simulation="first")
            await stage.deployed("a", "b", simulation="second")
            await stage.deployed("a", simulation="third")
            assert len(stage.machine.world.starts) == 3
            assert stage.orchestrator.deployment.undeployed == 3
            await stage.machine.finish(attempt("a", simulation="first"), 0)
            await stage.orchestrator.deployment.all_deployed()
    assert [one.key.simulation for one in stage.machine.world.starts] == [*["first"] * 3, *["second"] * 2]
    told = [entry for entry in logs if entry["event"] == "simulation.waiting"]
    assert [(entry["simulation"], entry["models"], entry["active"], entry["limit"]) for entry in told] == [
        ("second", 2, 3, 4),
        ("third", 1, 3, 4),
    ]
    assert [entry["behind"] for entry in told] == [[], ["second"]]


async def test_a_run_that_waits_for_room_can_be_stopped(time: Time) -> None:
    """Its models end as Stopped, and were never started."""
    stage = Stage(time, max_active=1)
    async with stage.playing():
        await stage.deployed("a", simulation="first")
        await stage.deployed("a", simulation="second")
        stage.inventory.stop(RunKey(SimulationId("second"), 1), "a test")
        await stage.orchestrator.deployment.all_deployed()
        await calm()
    stopped = known(stage.inventory, model_key("a", simulation="second"))
    assert (stopped.state, stopped.reason) == (State.FAILED, Reason.STOPPED)
    assert [one.key.simulation for one in stage.machine.world.starts] == ["first"]


async def test_the_last_part_of_a_request_need_not_bring_a_model(time: Time) -> None:
    """It is seen at the next listing that the request is complete."""
    stage = Stage(time, max_active=2)
    async with stage.playing():
        stage.inventory.add(order("a", more_to_come=True, digest="1"))
        await calm()
        assert stage.machine.world.starts == []
        stage.inventory.add(order("a", digest="2"))
        await stage.machine.look()
        await stage.until(lambda: stage.machine.world.starts == [attempt("a")])
