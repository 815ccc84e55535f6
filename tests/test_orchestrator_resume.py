"""Another process goes on with what an earlier one wrote down, once the first listing says what became of it."""

from itertools import repeat

import pytest

from mso.changes import ModelChanged, SimulationEnded, SimulationRestored
from mso.ledger import AttemptDeployed, KnownModel, KnownRun
from mso.model import FailurePolicy, Model, ModelSpec, Ready, Reason, State
from tests.builders import NOW, attempt, crash, kept, left, model, request, spec
from tests.happening import calm
from tests.stage import HOUR, MINUTE, Stage, Time, standing_still, started_earlier


@pytest.fixture(autouse=True)
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    return standing_still(monkeypatch)


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """What failed is tried again at once."""
    monkeypatch.setattr("mso.patience.pauses", lambda *_: repeat(0.0))


def ends(stage: Stage) -> list[tuple[str, int | None]]:
    """The models whose end was told, with their exit codes, in order."""
    return [
        (change.model.key.model, change.model.exit_code)
        for change in stage.changes
        if isinstance(change, ModelChanged) and change.model.state.terminal
    ]


# -- what is there ----------------------------------------------------------------------------------------------------


async def test_what_is_known_and_is_there_is_followed(time: Time) -> None:
    """It is not started again, and how it ends is seen; nothing of it has to be written down again."""
    stage = Stage(time, await started_earlier(model("a"), model("b")))
    stage.resume(left(kept(model("a"), model("b"))))
    async with stage.playing():
        await stage.machine.look()
        assert [type(change) for change in stage.changes] == [SimulationRestored]
        await stage.machine.finish(attempt("a"), 3)
        stage.machine.world.vanish(attempt("b"))
        await stage.machine.look()
    assert (stage.model("a").exit_code, stage.model("b").reason) == (3, Reason.POD_DELETED)
    assert (stage.machine.acts, stage.written) == ([], [])


async def test_what_was_ready_is_ready(time: Time) -> None:
    """Nobody waits for what it said to an earlier process; the others are waited for."""
    stage = Stage(time, await started_earlier(model("a"), model("b")), ready_timeout=MINUTE)
    stage.resume(left(kept(model("a", state=State.RUNNING, ready=True), model("b"))))
    async with stage.playing():
        await stage.machine.look()
        await stage.wait(HOUR)
    assert (stage.model("a").state, stage.model("b").reason) == (State.RUNNING, Reason.READY_TIMEOUT)


@pytest.mark.parametrize(
    ("limited", "reason"),
    (
        (spec(ready_timeout=HOUR), Reason.READY_TIMEOUT),
        (spec(max_runtime=HOUR), Reason.RUNTIME_EXCEEDED),
    ),
    ids=("ready", "runtime"),
)
async def test_its_time_begins_anew(time: Time, limited: ModelSpec, reason: Reason) -> None:
    """With the first listing: neither a kill nor a clock that was set fails a model, nor what it waited for room."""
    old = model(spec=limited, created_at=NOW - 10 * HOUR, since=NOW - 10 * HOUR)
    stage = Stage(time, await started_earlier(old))
    stage.resume(left(kept(old)))
    async with stage.playing():
        await stage.wait(2 * HOUR)
        await stage.machine.look()
        await stage.wait(HOUR - MINUTE)
        assert stage.model().state is State.CREATED
        await stage.wait(2 * MINUTE)
        assert stage.model().reason is reason


async def test_what_was_ready_has_its_runtime_anew(time: Time) -> None:
    """It counts from the first listing, ready or not."""
    old = model(spec=spec(max_runtime=HOUR), since=NOW - 10 * HOUR, state=State.RUNNING, ready=True)
    stage = Stage(time, await started_earlier(old))
    stage.resume(left(kept(old)))
    async with stage.playing():
        await stage.machine.look()
        await stage.wait(HOUR - MINUTE)
        assert stage.model().state is State.RUNNING
        await stage.wait(2 * MINUTE)
        assert stage.model().reason is Reason.RUNTIME_EXCEEDED


async def test_what_is_there_without_having_been_noted_is_followed_and_noted(time: Time) -> None:
    """The kill came between its start and that: it is not started twice, and once it is missing it is gone."""
    stage = Stage(time, await started_earlier(model()))
    stage.resume(left(kept(model(), deployed=False)))
    async with stage.playing():
        await stage.machine.look()
        await calm()
        assert (stage.machine.acts, stage.written) == ([], [AttemptDeployed(attempt())])
        stage.machine.world.vanish(attempt())
        await stage.machine.look()
    assert stage.model().reason is Reason.POD_DELETED


async def test_what_a_run_was_announced_as_it_stays(time: Time) -> None:
    """No second SimulationReady comes of what its models say again."""
    stage = Stage(time, await started_earlier(model()))
    stage.resume(left(kept(model(state=State.RUNNING, ready=True), announced=True)))
    async with stage.playing():
        await stage.machine.look()
        stage.inventory.apply(attempt(), Ready())
    assert [type(change) for change in stage.changes] == [SimulationRestored]


# -- what is not there ------------------------------------------------------------------------------------------------


async def test_what_was_never_started_is_started_after_the_first_listing(time: Time) -> None:
    """Not before: it may be there, and the kill have come before that was noted."""
    stage = Stage(time)
    stage.resume(left(kept(model("a"), model("b"), deployed=False)))
    async with stage.playing():
        await calm()
        assert (stage.machine.acts, stage.orchestrator.recovered.is_set()) == ([], False)
        await stage.machine.look()
        await stage.orchestrator.deployment.all_deployed()
        assert stage.machine.world.starts == [attempt("a"), attempt("b")]
        await stage.machine.look()
    assert [stage.model(name).state for name in "ab"] == [State.CREATED, State.CREATED]
    assert stage.written == [AttemptDeployed(attempt("a")), AttemptDeployed(attempt("b"))]


async def test_what_was_there_and_is_gone_has_failed(time: Time) -> None:
    """Once, and it is not started again; the others of its run are followed."""
    stage = Stage(time, await started_earlier(model("b")))
    stage.resume(left(kept(model("a"), model("b"))))
    async with stage.playing():
        for _ in range(3):
            await stage.machine.look()
    assert ends(stage) == [("a", -1)]
    assert (stage.model("a").reason, stage.model("b").state) == (Reason.POD_DELETED, State.CREATED)
    assert stage.machine.acts == []


async def test_what_was_there_and_is_gone_is_retried_where_that_was_asked_for(time: Time) -> None:
    """As if it had gone before the eyes of this process."""
    again = model(spec=spec("m-0", retries=1))
    stage = Stage(time)
    stage.resume(left(kept(again)))
    async with stage.playing():
        await stage.machine.look()
        assert stage.model().attempt == 2
        stage.orchestrator.examined(attempt(), crash(-1, Reason.POD_DELETED))
        await stage.until(lambda: stage.outcomes)
    assert stage.machine.acts == [("remove", attempt()), ("deploy", attempt(number=2))]


@pytest.mark.parametrize("deployed", (False, True))
async def test_what_ended_meanwhile_ended_as_it_did(time: Time, deployed: bool) -> None:
    """With its own exit code, once, whether its start was noted or not; and so does its run."""
    stage = Stage(time, await started_earlier(model("a"), model("b")))
    stage.machine.world.finish(attempt("a"), 0)
    stage.machine.world.finish(attempt("b"), 137, Reason.OOM_KILLED)
    stage.resume(left(kept(model("a"), model("b"), deployed=deployed)))
    async with stage.playing():
        for _ in range(3):
            await stage.machine.look()
    assert sorted(ends(stage)) == [("a", 0), ("b", 137)]
    assert sum(isinstance(change, SimulationEnded) for change in stage.changes) == 1
    assert stage.machine.acts == []


async def test_what_had_ended_and_is_gone_keeps_its_end(time: Time) -> None:
    """Whoever removed it took nothing from it."""
    stage = Stage(time, await started_earlier(model("b")))
    stage.resume(left(kept(model("a", state=State.SUCCEEDED, exit_code=0), model("b"))))
    async with stage.playing():
        await stage.machine.look()
    assert (ends(stage), stage.model("a").exit_code) == ([], 0)


async def test_a_failure_that_nobody_saw_stops_its_run(time: Time) -> None:
    """STOP_ALL holds also for what vanished while nobody was there; what was never started never is."""
    asked = request(failure_policy=FailurePolicy.STOP_ALL)
    gone, waiting = model("gone", request=asked), model("waits", request=asked)
    run = kept(gone, waiting)
    stage = Stage(time)
    stage.resume(left(KnownRun(run.record, run.requests, (KnownModel(gone, True), KnownModel(waiting, False)))))
    async with stage.playing():
        await stage.machine.look()
        await stage.orchestrator.deployment.all_deployed()
    assert [stage.model(name).reason for name in ("gone", "waits")] == [Reason.POD_DELETED, Reason.STOPPED]
    assert stage.machine.world.starts == []


# -- attempts ---------------------------------------------------------------------------------------------------------

AGAIN = spec("m-0", retries=1)


@pytest.mark.parametrize("first", ("lives", "has ended", "is gone"))
async def test_a_second_attempt_that_was_not_started_buries_the_first(time: Time, first: str) -> None:
    """Then it is started: two attempts of one model never run at the same time."""
    stage = Stage(time, await started_earlier(model(spec=AGAIN)))
    if first == "has ended":
        stage.machine.world.finish(attempt(), 1)
    elif first == "is gone":
        stage.machine.world.vanish(attempt())
    stage.resume(left(kept(model(spec=AGAIN, attempt=2), deployed=False)))
    gate = stage.machine.shut("remove", attempt())
    async with stage.playing():
        await stage.machine.look()
        await calm()
        assert set(stage.machine.acts) == {("remove", attempt())}
        gate.set()
        await stage.until(lambda: stage.outcomes)
        assert stage.begun("deploy") == [attempt(number=2)]
        await stage.machine.look()
        assert (stage.model().attempt, stage.model().state) == (2, State.CREATED)
    living = [one for one, running in stage.machine.world.attempts.items() if running.end is None]
    assert living == [attempt(number=2)]


async def test_a_second_attempt_that_is_there_is_followed(time: Time) -> None:
    """What is left of the first one stays for its log, and what it ended with is not told of the second."""
    stage = Stage(time, await started_earlier(model(spec=AGAIN), model(spec=AGAIN, attempt=2)))
    stage.machine.world.finish(attempt(), 1)
    stage.resume(left(kept(model(spec=AGAIN, attempt=2))))
    async with stage.playing():
        await stage.machine.look()
        assert (stage.model().attempt, stage.model().state, stage.machine.acts) == (2, State.CREATED, [])
        await stage.machine.finish(attempt(number=2), 0)
    assert ends(stage) == [("m-0", 0)]


async def test_an_attempt_that_failed_meanwhile_is_followed_by_the_next(time: Time) -> None:
    """Its log is read first, and then it is removed."""
    stage = Stage(time, await started_earlier(model(spec=AGAIN)))
    stage.machine.world.finish(attempt(), 1)
    stage.resume(left(kept(model(spec=AGAIN))))
    async with stage.playing():
        await stage.machine.look()
        await calm()
        assert (stage.model().attempt, stage.machine.acts) == (2, [])
        stage.orchestrator.examined(attempt(), crash())
        await stage.until(lambda: stage.outcomes)
    assert stage.machine.acts == [("remove", attempt()), ("deploy", attempt(number=2))]


FAILED = model(state=State.FAILED, exit_code=-1, reason=Reason.READY_TIMEOUT)


@pytest.mark.parametrize(
    ("ghost", "now"),
    ((model(), FAILED), (model(spec=AGAIN), model(spec=AGAIN, attempt=2))),
    ids=("given up", "an earlier attempt"),
)
async def test_what_lives_of_what_has_ended_is_removed_after_its_log_was_read(
    time: Time, ghost: Model, now: Model
) -> None:
    """An earlier process gave it up, and did not come to remove it."""
    others = model("other")
    stage = Stage(time, await started_earlier(ghost, others, *([now] if now.attempt > 1 else [])))
    stage.settled.clear()
    stage.resume(left(kept(now, others)))
    async with stage.playing():
        await stage.machine.look()
        await calm()
        assert stage.machine.acts == []
        stage.settled.set()
        await stage.until(lambda: stage.begun("remove"))
        for _ in range(3):
            await stage.machine.look()
            await calm()
    assert stage.machine.acts == [("remove", attempt())]
    assert stage.machine.world.attempts[attempt()].end is not None
    assert (ends(stage), stage.model("other").state) == ([], State.CREATED)


async def test_only_what_an_earlier_process_left_is_a_ghost(time: Time) -> None:
    """What this one gives up is removed when it was examined, and not because it is still listed."""
    stage = Stage(time, await started_earlier(model(spec=spec(ready_timeout=MINUTE))))
    stage.resume(left(kept(model(spec=spec(ready_timeout=MINUTE)))))
    async with stage.playing():
        await stage.machine.look()
        await stage.wait(HOUR)
        await stage.machine.look()
        await calm()
        assert (stage.model().reason, stage.machine.acts) == (Reason.READY_TIMEOUT, [])
