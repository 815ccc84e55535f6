"""A message is written down with what it tells of, goes when that is durable, and is done when the broker has it."""

import pytest

from mso.inventory import Rejected
from mso.ledger import LinesKept, RowDone, RowPut, RowReleased
from mso.model import Reason, SimulationId, SimulatorName
from mso.outbox import Kind
from tests.builders import RUN, SIM, SO, attempt, crash, key
from tests.fakes.broker import FakeBroker
from tests.happening import calm
from tests.observers.desk import Desk, terminated


async def test_a_message_goes_when_it_is_durable() -> None:
    """Nobody hears of what another process would not know."""
    desk = Desk()
    desk.record.hold()
    async with desk.open():
        desk.ask("m-0")
        desk.end("m-0")
        await calm()
        assert [type(entry) for entry in desk.record.entries] == [RowPut, RowPut]
        assert desk.heard == []
        desk.record.let_go()
        await calm()
    assert desk.heard == ["m-0 ModelHasTerminated", "AllModelsHaveTerminated"]


async def test_a_message_is_written_down_with_all_that_it_takes_to_send_it() -> None:
    """Under a number that rises."""
    desk = Desk()
    desk.ask("a", "b", version=2)
    desk.make_ready("a", "b")
    desk.fail("a")
    desk.report.reject(SimulatorName("other-so"), SimulationId("sim-9"), Rejected("no"))
    put = [entry.row for entry in desk.record.of(RowPut) if isinstance(entry, RowPut)]
    assert [(row.number, row.kind, row.run, row.about, row.held, row.witness) for row in put] == [
        (1, Kind.MODELS_READY, RUN, "", False, ""),
        (2, Kind.TERMINATION, RUN, "a", True, ""),
        (3, Kind.REJECTION, None, "", False, ""),
    ]
    assert [row.topic for row in put] == [
        f"/lifecycle/mso/{SO}/{SIM}/ModelsReady",
        f"/lifecycle/mso/{SO}/{SIM}/a/ModelHasTerminated",
        "/lifecycle/mso/other-so/sim-9/DeployModelsRejected",
    ]


async def test_a_message_is_done_when_the_broker_has_it() -> None:
    """That is written down: another process does not send it again."""
    desk = Desk(FakeBroker(acknowledges=False))
    async with desk.open():
        desk.ask("a", "b")
        desk.end("a", "b")
        await calm()
        assert desk.record.of(RowDone) == []
        desk.broker.acknowledge(1)
        await calm()
        assert desk.record.of(RowDone) == [RowDone(1)]
        desk.broker.disconnect()
        await calm()
        assert desk.record.of(RowDone) == [RowDone(1)]


async def test_a_message_that_can_never_go_is_done() -> None:
    """No other process tries it for ever."""
    desk = Desk()
    desk.broker.unsendable.add(f"/lifecycle/mso/{SO}/{SIM}/a/ModelHasTerminated")
    async with desk.open():
        desk.ask("a")
        desk.end("a")
        await desk.report.emptied()
    assert desk.record.of(RowDone) == [RowDone(1), RowDone(2)]


async def test_the_end_of_a_run_is_told_of_once_the_broker_has_its_last_word() -> None:
    """Behind that in the ledger, or with it: a run is never reported of which a row is left."""
    desk = Desk()
    done_before: list[int] = []
    desk.inventory.subscribe(lambda _: done_before.append(len(desk.record.of(RowDone))) if desk.reported else None)
    async with desk.open():
        desk.ask("a")
        desk.end("a")
        await calm()
    assert (desk.reported, done_before) == ([RUN], [2])


@pytest.mark.parametrize("version", (1, 2))
async def test_the_last_lines_are_kept_for_those_who_look_back(version: int) -> None:
    """Whether the protocol has words for them or not; in the transaction that lets the termination go."""
    desk = Desk()
    async with desk.open():
        desk.ask("m-0", version=version)
        desk.fail()
        await calm()
        before = len(desk.record.entries)
        desk.report.release(key(), ("it did", "not work"), ("BackOff: again",))
        await calm()
    lines, *rest = desk.record.entries[before:]
    assert lines == LinesKept(key(), ("it did", "not work"), ("BackOff: again",))
    termination = next(sent for sent in desk.broker.sent if sent.name == "ModelHasTerminated")
    released = [RowReleased(1, termination.payload)] if version == 2 else []
    assert [entry for entry in rest if isinstance(entry, RowReleased)] == released
    assert list(terminated(termination).lastLogLines) == (["it did", "not work"] if version == 2 else [])


@pytest.mark.parametrize("version", (1, 2))
async def test_where_there_are_no_lines_none_are_kept(version: int) -> None:
    """Those that come after the termination has gone are kept all the same."""
    desk = Desk()
    desk.ask("m-0", version=version)
    desk.fail()
    desk.report.release(key(), ())
    assert desk.record.of(LinesKept) == []
    desk.report.release(key(), ("late",))
    assert desk.record.of(LinesKept) == [LinesKept(key(), ("late",))]
    assert len(desk.record.of(RowReleased)) == version - 1


async def test_a_termination_goes_with_its_lines_when_they_are_durable() -> None:
    """A kill in between reads them again, and never sends two that differ."""
    desk = Desk()
    async with desk.open():
        desk.ask("m-0", version=2)
        desk.inventory.apply(attempt(), crash(reason=Reason.OOM_KILLED))
        desk.record.hold()
        desk.report.release(key(), ("last words",))
        desk.report.release(key(), ("other words",))
        await calm()
        assert desk.heard == []
        desk.record.let_go()
        await calm()
    assert desk.heard == ["m-0 ModelHasTerminated", "AllModelsHaveTerminated"]
    assert list(terminated(desk.broker.sent[0]).lastLogLines) == ["last words"]
