"""What an earlier process left to be told, and what a broker is told again that has lost its memory."""

from datetime import UTC, datetime, timedelta
from itertools import repeat

import pytest
from structlog.testing import capture_logs

from mso.ledger import LedgerError, RowDone, RowPut, RowReleased
from mso.model import Reason, RunKey, SimulationId, State
from mso.outbox import Kind, Row
from mso.protocol import lifecycle
from tests.builders import RUN, SIM, a_row, attempt, crash, key, model, request, run_of
from tests.fakes.broker import FakeBroker
from tests.happening import calm
from tests.observers.desk import Desk, terminated

VERSION_2 = request(protocol_version=2)
FAILED = model("a", request=VERSION_2, state=State.FAILED, exit_code=3, reason=Reason.ERROR, message="it broke")


def termination(number: int, name: str, run: int = 1, simulation: str = SIM, *, held: bool = False) -> Row:
    key_of_run = RunKey(SimulationId(simulation), run)
    topic = f"/lifecycle/mso/essim/{simulation}/{name}/ModelHasTerminated"
    payload = lifecycle.model_has_terminated(FAILED)
    return a_row(number, simulation=simulation, topic=topic, payload=payload, run=key_of_run, about=name, held=held)


def last_word(number: int, run: int = 1, simulation: str = SIM) -> Row:
    key_of_run = RunKey(SimulationId(simulation), run)
    topic = f"/lifecycle/mso/essim/{simulation}/AllModelsHaveTerminated"
    return a_row(number, Kind.ALL_TERMINATED, simulation, topic=topic, run=key_of_run)


def put(desk: Desk) -> list[int]:
    """The numbers of the rows that this process wrote down."""
    return [entry.row.number for entry in desk.record.of(RowPut) if isinstance(entry, RowPut)]


# -- what an earlier process left -------------------------------------------------------------------------------------


async def test_what_was_left_to_be_told_is_told_in_its_order() -> None:
    """Each once, and not written down a second time."""
    desk = Desk()
    assert desk.report.resume([termination(3, "a"), termination(5, "b"), last_word(6)], 9) == []
    async with desk.open():
        await desk.report.emptied()
    assert desk.heard == ["a ModelHasTerminated", "b ModelHasTerminated", "AllModelsHaveTerminated"]
    assert put(desk) == []


async def test_what_comes_now_comes_behind_it() -> None:
    """Its number is higher than any that was ever given."""
    desk = Desk()
    desk.inventory.restore(run_of(model("a", state=State.SUCCEEDED), model("b")))
    desk.report.resume([termination(3, "a")], 9)
    desk.end("b")
    async with desk.open():
        await desk.report.emptied()
    assert desk.heard == ["a ModelHasTerminated", "b ModelHasTerminated", "AllModelsHaveTerminated"]
    assert put(desk) == [10, 11]


async def test_a_termination_that_waited_for_its_lines_still_does() -> None:
    """Its model is examined again; then it goes with what that brings, and the last word behind it."""
    desk = Desk()
    desk.inventory.restore(run_of(FAILED, request=VERSION_2, ended_at=datetime.now(UTC)))
    assert desk.report.resume([termination(1, "a", held=True), last_word(2)], 2) == [FAILED]
    async with desk.open():
        await calm()
        assert desk.heard == []
        desk.report.release(key("a"), ("last words",))
        await desk.report.emptied()
    assert desk.heard == ["a ModelHasTerminated", "AllModelsHaveTerminated"]
    said = terminated(desk.broker.sent[0])
    assert (said.exitCode, said.reason, said.message, list(said.lastLogLines)) == (
        3,
        "Error",
        "it broke",
        ["last words"],
    )
    assert desk.record.of(RowReleased) == [RowReleased(1, desk.broker.sent[0].payload)]


async def test_a_run_whose_last_word_was_left_is_reported_when_the_broker_has_it() -> None:
    """The kill came before that, and nothing of it may be removed before."""
    desk = Desk(FakeBroker(acknowledges=False))
    desk.inventory.restore(run_of(model("a", state=State.SUCCEEDED), ended_at=datetime.now(UTC)))
    desk.report.resume([last_word(2)], 2)
    async with desk.open():
        await calm()
        assert (desk.heard, desk.reported) == (["AllModelsHaveTerminated"], [])
        desk.broker.acknowledge()
        await calm()
    assert desk.reported == [RUN]


@pytest.mark.parametrize(("reason", "complains"), ((Reason.ERROR, False), (Reason.STOPPED, True)))
async def test_a_failure_that_was_told_before_is_the_first_of_its_run(reason: Reason, complains: bool) -> None:
    """ErrorOccurred is told once a run, whatever is killed in between; what was stopped was none."""
    desk = Desk(send_error_occurred=True)
    before = model("a", state=State.FAILED, exit_code=1, reason=reason)
    desk.inventory.restore(run_of(before, model("b"), model("c")))
    desk.report.resume([], 4)
    async with desk.open():
        desk.fail("b")
        await calm()
    assert ("b ErrorOccurred" in desk.heard) is complains


async def test_the_failure_of_a_run_before_is_none_of_the_next() -> None:
    """A run that has ended has had its complaint."""
    desk = Desk(send_error_occurred=True)
    before = model("a", state=State.FAILED, exit_code=1, reason=Reason.ERROR)
    desk.inventory.restore(run_of(before, ended_at=datetime.now(UTC)))
    desk.report.resume([], 4)
    async with desk.open():
        desk.ask("a")
        desk.inventory.apply(attempt("a", run=2), crash())
        await calm()
    assert "a ErrorOccurred" in desk.heard


# -- a broker that has lost its memory --------------------------------------------------------------------------------

ENDED = (termination(3, "a"), termination(4, "b"), last_word(5))
AGAIN = ["a ModelHasTerminated", "b ModelHasTerminated", "AllModelsHaveTerminated"]


async def reconnect(desk: Desk, *, session_present: bool) -> None:
    desk.broker.disconnect()
    desk.broker.connect(session_present=session_present)
    await calm()


async def test_a_broker_that_lost_its_memory_is_told_again() -> None:
    """What ended, as messages of their own, in their order; and that is said to the operator."""
    desk = Desk()
    desk.told = list(ENDED)
    desk.report.resume([], 5)
    async with desk.open():
        await calm()
        with capture_logs() as logs:
            await reconnect(desk, session_present=False)
    assert desk.heard == AGAIN
    assert put(desk) == [6, 7, 8]
    assert [(event["event"], event["told_again"]) for event in logs if event["event"] == "broker.forgot"] == [
        ("broker.forgot", 3)
    ]


async def test_a_broker_that_remembers_is_told_nothing_again() -> None:
    """It is not even looked up."""
    desk = Desk()
    desk.told = list(ENDED)
    async with desk.open():
        await reconnect(desk, session_present=True)
        await reconnect(desk, session_present=True)
    assert (desk.heard, desk.asked_since) == ([], [])


async def test_each_loss_of_memory_is_mended() -> None:
    """Also before the first connection of this process: the broker was away with the one before."""
    desk = Desk(FakeBroker(connected=False))
    desk.told = list(ENDED)
    async with desk.open():
        desk.broker.connect(session_present=False)
        await calm()
        assert desk.heard == AGAIN
        await reconnect(desk, session_present=True)
        await reconnect(desk, session_present=False)
    assert desk.heard == AGAIN * 2


async def test_only_what_ended_within_the_hour_is_told_again() -> None:
    """What is older has been acted on, or never will be."""
    desk = Desk()
    began = datetime.now(UTC)
    async with desk.open():
        await reconnect(desk, session_present=False)
    (since,) = desk.asked_since
    assert began <= since + timedelta(hours=1) <= datetime.now(UTC)


TWO_RUNS = (termination(1, "old"), last_word(2), termination(3, "new", run=2), last_word(4, run=2))


async def test_of_a_simulation_only_the_last_run_is_told_again() -> None:
    """The end of an earlier one would be taken for that of the present one; other simulations are told of as well."""
    desk = Desk()
    desk.told = [*TWO_RUNS, termination(5, "other", simulation="sim-2")]
    async with desk.open():
        await reconnect(desk, session_present=False)
    by_simulation = [name for name in desk.heard if "other" not in name]
    assert by_simulation == ["new ModelHasTerminated", "AllModelsHaveTerminated"]
    assert len(desk.heard) == 3


async def test_nothing_is_told_again_of_a_run_that_was_followed_by_another() -> None:
    """Of which there is nothing to tell yet."""
    desk = Desk()
    desk.inventory.restore(run_of(model("old", state=State.SUCCEEDED), ended_at=datetime.now(UTC)))
    desk.ask("new")
    desk.told = [termination(1, "old"), last_word(2)]
    async with desk.open():
        with capture_logs() as logs:
            await reconnect(desk, session_present=False)
    assert (desk.heard, [event for event in logs if event["event"] == "broker.forgot"]) == ([], [])


async def test_the_last_word_of_a_run_comes_last_also_when_the_broker_has_lost_some() -> None:
    """What was told before is told again while the last word still waited: whoever counts to the end has heard all."""
    desk = Desk(FakeBroker(connected=False))
    desk.inventory.restore(run_of(model("a", state=State.SUCCEEDED), ended_at=datetime.now(UTC)))
    desk.report.resume([last_word(4)], 4)
    desk.told = [termination(3, "a")]
    async with desk.open():
        desk.broker.connect(session_present=False)
        await calm()
    assert desk.heard == ["a ModelHasTerminated", "AllModelsHaveTerminated"]
    assert put(desk) == [5, 6]
    assert {3, 4, 5, 6} == {entry.number for entry in desk.record.of(RowDone) if isinstance(entry, RowDone)}
    assert desk.reported == [RUN]


async def test_a_last_word_that_was_on_its_way_comes_last_too() -> None:
    """Whether it went out or not: it goes once more, behind what is told again."""
    desk = Desk(FakeBroker(acknowledges=False))
    desk.inventory.restore(run_of(model("a", state=State.SUCCEEDED), ended_at=datetime.now(UTC)))
    desk.report.resume([last_word(4)], 4)
    desk.told = [termination(3, "a")]
    async with desk.open():
        await calm()
        assert desk.heard == ["AllModelsHaveTerminated"]
        desk.broker.disconnect()
        await calm()
        desk.broker.connect(session_present=False)
        desk.broker.acknowledge()
        await desk.report.emptied()
    assert desk.heard[1:] == ["a ModelHasTerminated", "AllModelsHaveTerminated"]
    assert (len(desk.outbox), desk.reported) == (0, [RUN])


async def test_models_ready_is_never_told_again() -> None:
    """A second one does harm, whatever the broker has forgotten."""
    desk = Desk()
    async with desk.open():
        desk.ask("a", "b")
        desk.make_ready("a", "b")
        desk.end("a")
        await desk.report.emptied()
        desk.told = [termination(2, "a")]
        await reconnect(desk, session_present=False)
    assert desk.heard == ["ModelsReady", "a ModelHasTerminated", "a ModelHasTerminated"]


async def test_what_is_told_again_reports_no_run_again() -> None:
    """It was, and is kept from then on."""
    desk = Desk()
    async with desk.open():
        desk.ask("a")
        desk.end("a")
        await desk.report.emptied()
        desk.told = [termination(1, "a"), last_word(2)]
        await reconnect(desk, session_present=False)
    assert desk.heard[2:] == ["a ModelHasTerminated", "AllModelsHaveTerminated"]
    assert desk.reported == [RUN]


async def test_a_ledger_that_cannot_be_read_now_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Until it answers; what waits to be told waits behind it."""
    monkeypatch.setattr("mso.patience.pauses", lambda *_: repeat(0.0))
    desk = Desk()
    desk.told = list(ENDED)
    desk.unreadable = [LedgerError("the server is away")] * 3
    async with desk.open():
        await calm()
        desk.broker.disconnect()
        desk.ask("x", simulation="sim-2")
        desk.inventory.apply(attempt("x", simulation="sim-2"), crash())
        with capture_logs() as logs:
            desk.broker.connect(session_present=False)
            await desk.until(lambda: len(desk.asked_since) == 3)
            assert desk.heard == []
            await desk.report.emptied()
    again = [sent.topic.split("/", 5)[5].replace("/", " ") for sent in desk.broker.sent if f"/{SIM}/" in sent.topic]
    assert again == AGAIN
    assert "x ModelHasTerminated" in desk.heard
    unread = [event for event in logs if event["event"] == "ledger.unread"]
    assert [(event["log_level"], event["why"]) for event in unread] == [("warning", "the server is away")] * 3
