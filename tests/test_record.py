"""What must outlive the process is written down first, and acted on then."""

import asyncio
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from itertools import repeat

import pytest
from structlog.testing import capture_logs

from mso.changes import Change
from mso.inventory import Inventory
from mso.ledger import DeposedError, LedgerError, Noted, UnusableLedgerError
from mso.model import Ready, Succeeded
from mso.record import SLICE, Record
from tests.builders import attempt, model, order, run_of
from tests.fakes.ledger import FakeLedger
from tests.happening import Happening, calm, running


class Desk:
    """A record with all that it needs: what is done about a Change is that it is noted."""

    def __init__(self) -> None:
        self.happening = Happening()
        self.ledger = FakeLedger()
        self.ledger.heard = self.happening.tell
        self.inventory = Inventory()
        self.done: list[str] = []
        """What was done about what was written, in order."""
        self.steps: list[str] = []
        self.record = Record(self.inventory, self.ledger, then=(self._act,), step=self._step, failed=self._failed)
        self.failed = 0
        self.inventory.subscribe(self.record.observe)

    def _failed(self) -> None:
        self.failed += 1

    def keeping(self) -> AbstractAsyncContextManager[None]:
        """The loop turns."""
        return running(self.record.keep())

    def write(self, *names: str) -> None:
        """One entry each, after which it is noted under its name."""
        for name in names:
            self.record.write([Noted(name, "")], lambda name=name: self.done.append(name))  # type: ignore[misc]

    @property
    def commits(self) -> list[list[str]]:
        """Of each transaction the kinds of its entries, or the names of notes."""
        return [
            [entry.name if isinstance(entry, Noted) else type(entry).__name__ for entry in commit]
            for commit in self.ledger.commits
        ]

    def _act(self, change: Change) -> None:
        self.done.append(type(change).__name__)

    @contextmanager
    def _step(self, loop: str) -> Iterator[None]:
        self.steps.append(loop)
        yield


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """What failed is tried again at once."""
    monkeypatch.setattr("mso.patience.pauses", lambda *_: repeat(0.0))


# -- first written, then done -----------------------------------------------------------------------------------------


async def test_what_happens_in_one_turn_is_one_transaction() -> None:
    """States and the messages about them are kept together, or neither is."""
    desk = Desk()
    async with desk.keeping():
        desk.write("before")
        desk.inventory.add(order("a", "b"))
        desk.inventory.apply(attempt("a"), Ready())
        desk.write("a message")
        await desk.record.flushed()
    assert desk.commits == [["before", "RunKept", "RequestKept", *["ModelAsked"] * 2, "ModelStands", "a message"]]


async def test_nothing_is_acted_on_before_it_is_durable() -> None:
    """No effect without its cause on the record."""
    desk = Desk()
    desk.ledger.may_commit.clear()
    async with desk.keeping():
        desk.inventory.add(order("a"))
        await calm()
        assert (len(desk.ledger.tries), desk.done) == (1, [])
        desk.ledger.may_commit.set()
        await desk.record.flushed()
    assert desk.done == ["SimulationAdded", "ModelAdded"]


async def test_while_a_transaction_is_under_way_the_next_one_gathers() -> None:
    """A slow disk makes larger transactions, and not more of them."""
    desk = Desk()
    desk.ledger.may_commit.clear()
    async with desk.keeping():
        desk.write("first")
        for name in ("second", "third", "fourth"):
            await calm()
            desk.write(name)
        await calm()
        assert desk.done == []
        desk.ledger.may_commit.set()
        await desk.record.flushed()
    assert desk.commits == [["first"], ["second", "third", "fourth"]]
    assert desk.done == ["first", "second", "third", "fourth"]


async def test_what_follows_comes_in_the_order_in_which_things_were_said() -> None:
    """Effects and acknowledgements alike, whether there was something to write or not."""
    desk = Desk()
    desk.ledger.may_commit.clear()
    async with desk.keeping():
        desk.record.write((), lambda: desk.done.append("acknowledged 1"))
        desk.inventory.add(order("a"))
        desk.record.write((), lambda: desk.done.append("acknowledged 2"))
        await calm()
        desk.record.write((), lambda: desk.done.append("acknowledged 3"))
        desk.inventory.apply(attempt("a"), Succeeded())
        desk.record.write((), lambda: desk.done.append("acknowledged 4"))
        desk.ledger.may_commit.set()
        await desk.record.flushed()
    assert desk.done == [
        "acknowledged 1",
        "SimulationAdded",
        "ModelAdded",
        "acknowledged 2",
        "acknowledged 3",
        "ModelChanged",
        "SimulationEnded",
        "acknowledged 4",
    ]


async def test_where_nothing_is_to_be_written_there_is_no_transaction() -> None:
    """What was written down by an earlier process, or changed nothing, is acted on all the same."""
    desk = Desk()
    async with desk.keeping():
        desk.inventory.restore(run_of(model("a")))
        desk.record.write((), lambda: desk.done.append("acknowledged"))
        await desk.record.flushed()
    assert (desk.ledger.tries, desk.done) == ([], ["SimulationRestored", "acknowledged"])


async def test_written_returns_when_it_and_all_before_it_is_durable() -> None:
    """Whoever waits for it can rely on what others said before."""
    desk = Desk()
    desk.ledger.may_commit.clear()
    async with desk.keeping():
        desk.write("before")
        waiting = [asyncio.create_task(desk.record.written(*entries)) for entries in ((Noted("mine", ""),), ())]
        await calm()
        assert not any(task.done() for task in waiting)
        desk.ledger.may_commit.set()
        await asyncio.gather(*waiting)
        assert desk.done == ["before"]
    assert desk.commits == [["before"], ["mine"]]


async def test_flushed_waits_for_what_follows_as_well() -> None:
    """What is done about a thing may have to be written down in turn; where nothing was said it returns at once."""
    desk = Desk()
    desk.ledger.may_commit.clear()
    async with desk.keeping():
        await desk.record.flushed()
        desk.record.write([Noted("cause", "")], lambda: desk.write("effect"))
        flushing = asyncio.create_task(desk.record.flushed())
        await calm()
        assert not flushing.done()
        desk.ledger.may_commit.set()
        await flushing
        assert desk.done == ["effect"]
    assert desk.commits == [["cause"], ["effect"]]


async def test_much_that_follows_leaves_room_for_others() -> None:
    """Thousands of effects at once do not stop the event loop: between some and some, others have their turn."""
    desk = Desk()
    many = 3 * SLICE + 1
    seen: set[int] = set()

    async def another() -> None:
        while len(desk.done) < many:
            seen.add(len(desk.done))
            await asyncio.sleep(0)

    async with desk.keeping():
        desk.write(*(f"note {number}" for number in range(many)))
        await another()
    assert seen == {0, SLICE, 2 * SLICE, 3 * SLICE}
    assert desk.done == [f"note {number}" for number in range(many)]


async def test_what_follows_is_a_step_of_the_loop() -> None:
    """One that does not come to its end is noticed; to wait for the disk is no step."""
    desk = Desk()
    desk.ledger.may_commit.clear()
    async with desk.keeping():
        desk.write("a")
        await calm()
        assert desk.steps == []
        desk.ledger.may_commit.set()
        await desk.record.flushed()
    assert desk.steps == ["record"]


# -- trouble ----------------------------------------------------------------------------------------------------------


async def test_what_cannot_be_written_now_is_tried_again_until_it_is() -> None:
    """Nothing is lost, nothing is kept twice, and nothing is acted on twice."""
    desk = Desk()
    desk.ledger.refusals = [LedgerError("the disk is full")] * 3
    with capture_logs() as logs:
        async with desk.keeping():
            desk.inventory.add(order("a"))
            desk.write("b")
            await desk.record.flushed()
    assert len(desk.ledger.tries) == 4
    assert desk.failed == 3
    assert desk.commits == [["RunKept", "RequestKept", "ModelAsked", "b"]]
    assert desk.done == ["SimulationAdded", "ModelAdded", "b"]
    assert [(event["event"], event["log_level"]) for event in logs] == [
        *[("ledger.trouble", "error")] * 3,
        ("ledger.well_again", "info"),
    ]
    assert {event["why"] for event in logs[:3]} == {"the disk is full"}


async def test_trouble_is_told_and_holds_up_what_is_not_yet_taken_in() -> None:
    """What nobody can write down is better left with the broker; what is in already waits in order."""
    desk = Desk()
    async with desk.keeping():
        await desk.record.flowing()
        assert desk.record.trouble == ""
        desk.ledger.refusals = [LedgerError("the disk is full"), LedgerError("the disk is full")]
        desk.write("a")
        await desk.happening.until(lambda: len(desk.ledger.tries) == 2)
        desk.ledger.may_commit.clear()
        await calm()
        assert desk.record.trouble == "nothing can be written down: the disk is full"
        flowing = asyncio.create_task(desk.record.flowing())
        desk.write("b")
        await calm()
        assert (flowing.done(), desk.done) == (False, [])
        desk.ledger.may_commit.set()
        await flowing
        assert desk.record.trouble == ""
        await desk.record.flushed()
    assert desk.done == ["a", "b"]
    assert desk.commits == [["a"], ["b"]]


@pytest.mark.parametrize("final", (DeposedError("another one is active"), UnusableLedgerError("of a newer release")))
async def test_who_may_not_write_any_more_ends(final: Exception) -> None:
    """Nothing of it was kept, and nothing is done about it: another process is the one that acts."""
    desk = Desk()
    desk.ledger.refusals = [LedgerError("for a moment"), final]
    with pytest.RaisesGroup(pytest.RaisesExc(type(final), match=str(final))):
        async with desk.keeping():
            desk.inventory.add(order("a"))
            await asyncio.Event().wait()
    assert (desk.ledger.commits, desk.done) == ([], [])


async def test_an_effect_that_raises_ends_the_loop() -> None:
    """Nobody goes on in a state that nobody foresaw."""
    desk = Desk()

    def stumble() -> None:
        raise LookupError("not foreseen")

    with pytest.RaisesGroup(pytest.RaisesExc(LookupError, match="not foreseen")):
        async with desk.keeping():
            desk.record.write([Noted("a", "")], stumble)
            desk.write("b")
            await asyncio.Event().wait()
    assert (desk.commits, desk.done) == ([["a", "b"]], [])


# -- history ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def _pruned_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mso.record.PRUNE_SECONDS", 0.0)


@pytest.mark.usefixtures("_pruned_at_once")
async def test_what_is_over_for_long_enough_is_pruned_again_and_again() -> None:
    """It is counted in the log; what the ledger cannot do now it can do the next time."""
    desk = Desk()
    desk.ledger.refusals = [LedgerError("the server is away")]
    keep = timedelta(days=30)
    began = datetime.now(UTC)
    with capture_logs() as logs:
        async with running(desk.record.prune_history(keep)):
            await desk.happening.until(lambda: len(desk.ledger.pruned) == 3)
    assert all(began <= before + keep <= datetime.now(UTC) for before in desk.ledger.pruned)
    assert logs == [
        {"event": "ledger.not_pruned", "log_level": "warning", "why": "the server is away"},
        *[{"event": "ledger.pruned", "log_level": "info", "runs": 3}] * 2,
    ]


async def test_who_was_deposed_prunes_nothing_any_more() -> None:
    """It ends, as it does when it writes."""
    desk = Desk()
    desk.ledger.refusals = [DeposedError("another one is active")]
    with pytest.RaisesGroup(DeposedError):
        async with running(desk.record.prune_history(timedelta(days=1))):
            await asyncio.Event().wait()
