"""What is read of an attempt that failed, and who hears of it."""

import asyncio

import pytest
from structlog.testing import capture_logs

from mso.backplane import BackplaneError
from mso.model import Failed, Model, Reason, RunKey, SimulationId, State, Succeeded
from mso.observers.post_mortem import AT_ONCE, LINES
from tests.builders import RUN, SIM, attempt, crash, key, spec
from tests.builders import model as a_model
from tests.happening import calm
from tests.observers.examination import Examination


@pytest.fixture
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """A termination waits for its lines, and the log is read, for a moment only."""
    monkeypatch.setattr("mso.observers.post_mortem.TERMINATION_WAITS_SECONDS", 0.02)
    monkeypatch.setattr("mso.observers.post_mortem.GIVE_UP_SECONDS", 0.06)


async def test_the_last_lines_of_a_failed_model_are_told() -> None:
    """In the log, with how it ended; to the termination that waits for them; and then the attempt may go."""
    examination = Examination()
    failed = crash(137, Reason.OOM_KILLED, message="out of memory")
    async with examination.going_on():
        await examination.ask("m-0")
        with capture_logs() as logs:
            examination.fail(attempt(), failed, b"".join(b"line %d\n" % number for number in range(100)))
            await examination.until(lambda: examination.examined)
    last = tuple(f"line {number}" for number in range(100 - LINES, 100))
    assert logs == [
        {
            "event": "model.failed",
            "log_level": "error",
            "simulation": SIM,
            "run": 1,
            "model": "m-0",
            "attempt": 1,
            "exit_code": 137,
            "reason": "OOMKilled",
            "message": "out of memory",
            "last_lines": list(last),
        }
    ]
    assert examination.released == [(key(), last, ())]
    assert examination.examined == [(attempt(), failed)]


async def test_an_attempt_that_is_followed_by_another_is_examined_too() -> None:
    """Its lines are told as those of an attempt, and no termination waits for them."""
    examination = Examination()
    async with examination.going_on():
        await examination.ask(spec(retries=1))
        with capture_logs() as logs:
            examination.fail(attempt(), crash(3), b"once more\n")
            await examination.until(lambda: examination.examined)
    (told,) = logs
    assert (told["event"], told["log_level"]) == ("model.attempt_failed", "warning")
    assert (told["attempt"], told["exit_code"], told["last_lines"]) == (1, 3, ["once more"])
    assert (examination.released, examination.examined) == ([], [(attempt(), crash(3))])


async def test_a_model_that_succeeded_is_not_examined() -> None:
    """There is nothing to explain."""
    examination = Examination()
    async with examination.going_on():
        await examination.ask("m-0")
        examination.inventory.apply(attempt(), Succeeded())
        await calm()
    assert (examination.logs.asked, examination.examined) == ([], [])


async def test_a_log_that_is_not_there_is_said() -> None:
    """In the words of the backplane; the termination goes at once, without lines, and the attempt may go (fault L2)."""
    examination = Examination()
    async with examination.going_on():
        await examination.ask("m-0")
        del examination.logs.world.attempts[attempt()]
        with capture_logs() as logs:
            examination.inventory.apply(attempt(), crash())
            await examination.until(lambda: examination.examined)
    (told,) = logs
    assert (told["last_lines"], told["no_log"]) == ([], "no log of sim-1/1/m-0#1: it is not there")
    assert examination.released == [(key(), (), ())]


@pytest.mark.usefixtures("short_waits")
async def test_a_log_that_cannot_be_read_for_ever_is_given_up() -> None:
    """The termination does not even wait for that: it goes without lines first."""
    examination = Examination()
    examination.logs.shut(attempt())
    async with examination.going_on():
        await examination.ask("m-0")
        with capture_logs() as logs:
            examination.fail(attempt(), crash())
            await examination.until(lambda: examination.released)
            assert examination.examined == []
            await examination.until(lambda: examination.examined)
    assert {lines for _, lines, _ in examination.released} == {()}
    (told,) = logs
    assert told["last_lines"] == []
    assert "could not be read within" in told["no_log"]


async def test_a_slow_log_is_told_although_the_termination_has_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who reads the log of the service has the time."""
    monkeypatch.setattr("mso.observers.post_mortem.TERMINATION_WAITS_SECONDS", 0.02)
    examination = Examination()
    gate = examination.logs.shut(attempt())
    async with examination.going_on():
        await examination.ask("m-0")
        with capture_logs() as logs:
            examination.fail(attempt(), crash(), b"at last\n")
            await examination.until(lambda: examination.released)
            assert (examination.released, logs) == ([(key(), (), ())], [])
            gate.set()
            await examination.until(lambda: examination.examined)
    assert [told["last_lines"] for told in logs] == [["at last"]]


async def test_a_run_is_settled_when_each_of_its_failures_was_examined() -> None:
    """Other runs are not waited for, and one without failures is settled from the beginning."""
    examination = Examination()
    gates = [examination.logs.shut(attempt(name)) for name in "ab"]
    async with examination.going_on():
        await examination.post_mortem.settled(RUN)
        await examination.ask("a", "b")
        await examination.ask("c", simulation="sim-2")
        examination.fail(attempt("a"), crash())
        settling = asyncio.create_task(examination.post_mortem.settled(RUN))
        await examination.post_mortem.settled(RunKey(SimulationId("sim-2"), 1))
        examination.fail(attempt("b"), crash())
        for examined, gate in enumerate(gates):
            await calm()
            assert (len(examination.examined), settling.done()) == (examined, False)
            gate.set()
        await settling


@pytest.mark.usefixtures("short_waits")
async def test_a_run_whose_logs_cannot_be_read_is_settled_all_the_same() -> None:
    """Nothing is kept for ever because its log hangs."""
    examination = Examination()
    examination.logs.shut(attempt())
    async with examination.going_on():
        await examination.ask("m-0")
        examination.fail(attempt(), crash())
        await examination.post_mortem.settled(RUN)
    assert examination.logs.asked == [attempt()]


async def test_not_every_log_is_read_at_once() -> None:
    """Four hundred failures do not become four hundred requests, but each is examined."""
    examination = Examination()
    names = [f"m-{number}" for number in range(3 * AT_ONCE)]
    gates = [examination.logs.shut(attempt(name)) for name in names]
    async with examination.going_on():
        await examination.ask(*names)
        for name in names:
            examination.fail(attempt(name), crash())
        await calm()
        assert len(examination.logs.asked) == AT_ONCE
        for gate in gates:
            gate.set()
        await examination.until(lambda: len(examination.examined) == len(names))
    assert sorted(examination.logs.asked) == sorted(map(attempt, names))


@pytest.mark.usefixtures("short_waits")
async def test_logs_that_hang_do_not_cost_those_behind_them_theirs() -> None:
    """The patience with a log begins when it is read, not while it waits for its turn."""
    examination = Examination()
    hanging = [f"hangs-{number}" for number in range(AT_ONCE)]
    for name in hanging:
        examination.logs.shut(attempt(name))
    async with examination.going_on():
        await examination.ask(*hanging, "behind")
        with capture_logs() as logs:
            for name in (*hanging, "behind"):
                examination.fail(attempt(name), crash(), b"last words\n")
            await examination.until(lambda: len(examination.examined) == AT_ONCE + 1)
    (behind,) = [event for event in logs if event.get("model") == "behind"]
    assert behind["last_lines"] == ["last words"]
    assert sum("no_log" in event for event in logs) == AT_ONCE


async def test_a_bug_in_reading_a_log_ends_the_loop() -> None:
    """What is no trouble of the backplane was not foreseen (docs/architecture.md, the loops)."""
    examination = Examination()
    examination.logs.bug = LookupError("not foreseen")
    with pytest.RaisesGroup(pytest.RaisesExc(LookupError, match="not foreseen"), flatten_subgroups=True):
        async with examination.going_on():
            await examination.ask("m-0")
            examination.fail(attempt(), crash())
            await asyncio.Event().wait()


async def test_the_trouble_of_one_log_is_not_that_of_the_next() -> None:
    """The loop goes on."""
    examination = Examination()
    examination.logs.bug = BackplaneError("the node is away")
    async with examination.going_on():
        await examination.ask("a", "b")
        examination.fail(attempt("a"), crash())
        await examination.until(lambda: examination.examined)
        examination.logs.bug = None
        examination.fail(attempt("b"), crash(), b"here\n")
        await examination.until(lambda: examination.examined[1:])
    assert examination.released == [(key("a"), (), ()), (key("b"), ("here",), ())]


# -- another process --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "failed"),
    (
        (
            a_model(state=State.FAILED, attempt=2, exit_code=137, reason=Reason.OOM_KILLED, message="too big"),
            crash(137, Reason.OOM_KILLED, message="too big"),
        ),
        (a_model(state=State.FAILED, attempt=2), crash(-1)),
    ),
    ids=("all is known", "least is known"),
)
async def test_what_an_earlier_process_did_not_come_to_examine_is_examined(model: Model, failed: Failed) -> None:
    """By its last attempt, as how it ended was written down; its termination has waited for that."""
    examination = Examination()
    async with examination.going_on():
        await examination.logs.deploy(model)
        examination.logs.world.say(model.current, b"last words\n")
        with capture_logs() as logs:
            examination.post_mortem.again(model)
            await examination.until(lambda: examination.examined)
    (told,) = logs
    assert (told["event"], told["attempt"], told["exit_code"]) == ("model.failed", 2, failed.exit_code)
    assert (told["reason"], told["message"], told["last_lines"]) == (failed.reason, failed.message, ["last words"])
    assert examination.released == [(key(), ("last words",), ())]
    assert examination.examined == [(attempt(number=2), failed)]


async def test_what_is_examined_again_is_waited_for() -> None:
    """Its run is not removed before that."""
    examination = Examination()
    gate = examination.logs.shut(attempt())
    async with examination.going_on():
        await examination.logs.deploy(a_model())
        examination.post_mortem.again(a_model(state=State.FAILED, exit_code=3, reason=Reason.ERROR))
        settling = asyncio.create_task(examination.post_mortem.settled(RUN))
        await calm()
        assert not settling.done()
        gate.set()
        await settling


# -- warnings ---------------------------------------------------------------------------------------------------------

WARNINGS = ["FailedMount: no such secret", "BackOff: again and again"]


async def test_what_the_backplane_warned_of_is_told() -> None:
    """In the one event of the log that tells the failure, and to the termination (fault P7)."""
    examination = Examination()
    examination.logs.world.warnings[attempt()] = WARNINGS
    async with examination.going_on():
        await examination.ask("m-0")
        with capture_logs() as logs:
            examination.fail(attempt(), crash(), b"last words\n")
            await examination.until(lambda: examination.examined)
    (told,) = logs
    assert (told["event"], told["last_lines"], told["warnings"]) == ("model.failed", ["last words"], WARNINGS)
    assert examination.released == [(key(), ("last words",), tuple(WARNINGS))]


async def test_an_attempt_that_is_followed_by_another_has_its_warnings_told() -> None:
    """Those of that attempt, and of no other."""
    examination = Examination()
    examination.logs.world.warnings |= {attempt(): WARNINGS, attempt(number=2): ["of the next one"]}
    async with examination.going_on():
        await examination.ask(spec(retries=1))
        with capture_logs() as logs:
            examination.fail(attempt(), crash())
            await examination.until(lambda: examination.examined)
    assert [(told["event"], told["warnings"]) for told in logs] == [("model.attempt_failed", WARNINGS)]


async def test_warnings_that_cannot_be_had_cost_nothing() -> None:
    """The lines are told as if nobody had asked for more."""
    examination = Examination()
    examination.logs.no_warnings = BackplaneError("events may not be listed")
    async with examination.going_on():
        await examination.ask("m-0")
        with capture_logs() as logs:
            examination.fail(attempt(), crash(), b"last words\n")
            await examination.until(lambda: examination.examined)
    (told,) = logs
    assert (told["last_lines"], "warnings" in told, "no_log" in told) == (["last words"], False, False)
    assert examination.released == [(key(), ("last words",), ())]


async def test_warnings_are_told_where_there_is_no_log() -> None:
    """A container that never began has none, and then they say all that there is to say (fault L2)."""
    examination = Examination()
    examination.logs.world.warnings[attempt()] = WARNINGS
    examination.logs.bug = BackplaneError("container is waiting to start")
    async with examination.going_on():
        await examination.ask("m-0")
        with capture_logs() as logs:
            examination.fail(attempt(), crash())
            await examination.until(lambda: examination.examined)
    (told,) = logs
    assert (told["no_log"], told["warnings"]) == ("container is waiting to start", WARNINGS)
    assert examination.released == [(key(), (), tuple(WARNINGS))]


@pytest.mark.usefixtures("short_waits")
async def test_warnings_that_do_not_come_cost_the_termination_no_lines() -> None:
    """What was read in time goes with it, and nobody waits for the rest for ever."""
    examination = Examination()
    examination.logs.no_warnings = asyncio.Event()
    async with examination.going_on():
        await examination.ask("m-0")
        with capture_logs() as logs:
            examination.fail(attempt(), crash(), b"last words\n")
            await examination.until(lambda: examination.examined)
    assert [told["last_lines"] for told in logs] == [["last words"]]
    assert examination.released[0] == (key(), ("last words",), ())


@pytest.mark.usefixtures("short_waits")
async def test_a_log_that_does_not_come_costs_the_termination_no_warnings() -> None:
    """Nor the other way round."""
    examination = Examination()
    examination.logs.world.warnings[attempt()] = WARNINGS
    examination.logs.shut(attempt())
    async with examination.going_on():
        await examination.ask("m-0")
        examination.fail(attempt(), crash())
        await examination.until(lambda: examination.examined)
    assert examination.released[0] == (key(), (), tuple(WARNINGS))
