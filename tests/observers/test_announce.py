"""ModelsReady goes out at most once a run, whatever is killed when and whichever connection breaks."""

import asyncio
from contextlib import AbstractAsyncContextManager

import pytest
from structlog.testing import capture_logs

from mso.ledger import RowDone, RowSent
from mso.model import Mark, RunKey, State
from mso.observers.announce import AT_ONCE, Announcer
from mso.observers.witness import Verdict
from mso.outbox import Kind, Row
from tests.builders import RUN, SIM, SO, a_row, model, run_of
from tests.fakes.broker import FakeBroker
from tests.fakes.record import FakeRecord
from tests.fakes.witness import FakeWitness
from tests.happening import calm, running
from tests.observers.desk import Desk

TOPIC = f"/lifecycle/mso/{SO}/{SIM}/ModelsReady"


def ready(number: int = 1, simulation: str = SIM, **fields: str) -> Row:
    topic = f"/lifecycle/mso/{SO}/{simulation}/ModelsReady"
    return a_row(number, Kind.MODELS_READY, simulation, topic=topic, **fields)


class Announcement:
    """An announcer with all that it needs. Nothing is acknowledged before the test says so."""

    def __init__(self, broker: FakeBroker | None = None) -> None:
        self.broker = broker or FakeBroker(acknowledges=False)
        self.witness = FakeWitness(self.broker)
        self.record = FakeRecord()
        self.marked: list[tuple[RunKey, Mark]] = []
        self.may_mark = asyncio.Event()
        self.may_mark.set()
        self.done: list[tuple[int, bool]] = []
        """The numbers of rows about which nothing is left to do, and whether they were withheld."""
        self.announcer = Announcer(
            self.broker, self.witness, mark=self._mark, written=self.record.written, done=self._done
        )

    def going_on(self) -> AbstractAsyncContextManager[None]:
        """The loop turns."""
        return running(self.announcer.run())

    async def lose_the_connection(self) -> None:
        """It ends, and there is another one."""
        self.broker.disconnect()
        self.broker.connect()
        await calm()

    @property
    def sent(self) -> int:
        """How often a ModelsReady was handed over."""
        return len(self.broker.sent)

    async def _mark(self, run: RunKey, mark: Mark) -> None:
        self.marked.append((run, mark))
        await self.may_mark.wait()

    def _done(self, row: Row, _: Exception | None = None, *, withheld: bool = False) -> None:
        self.done.append((row.number, withheld))


# -- before it goes ---------------------------------------------------------------------------------------------------


async def test_models_ready_waits_until_the_run_is_marked_as_ready() -> None:
    """Without its ledger another process knows from the mark that it may have gone, and does not send it again."""
    announcement = Announcement()
    announcement.may_mark.clear()
    async with announcement.going_on():
        announcement.announcer.announce(ready())
        await calm()
        assert (announcement.marked, announcement.record.entries, announcement.sent) == ([(RUN, Mark.READY)], [], 0)
        announcement.may_mark.set()
        await calm()
    assert [(sent.topic, sent.payload) for sent in announcement.broker.sent] == [(TOPIC, b"")]


async def test_that_it_is_about_to_go_is_durable_before_it_goes() -> None:
    """With what the witness can be asked by: another process asks it, and does not send blindly."""
    announcement = Announcement()
    announcement.witness.token = "token-7"
    announcement.record.hold()
    async with announcement.going_on():
        announcement.announcer.announce(ready(4))
        await calm()
        assert (announcement.record.entries, announcement.sent) == ([RowSent(4, "token-7")], 0)
        announcement.record.let_go()
        await calm()
        assert announcement.sent == 1


async def test_nothing_is_noted_before_the_witness_is_ready() -> None:
    """It hears whatever is sent from then on, and nothing that was sent before."""
    announcement = Announcement()
    announcement.witness.may_answer.clear()
    async with announcement.going_on():
        announcement.announcer.announce(ready())
        await calm()
        assert (announcement.witness.acts, announcement.record.entries) == (["clear"], [])
        announcement.witness.may_answer.set()
        await calm()
        assert announcement.sent == 1


async def test_one_that_waits_holds_up_no_other() -> None:
    """Each simulation has its own."""
    announcement = Announcement()
    announcement.may_mark.clear()
    async with announcement.going_on():
        announcement.announcer.announce(ready(1))
        await calm()
        announcement.may_mark = asyncio.Event()
        announcement.may_mark.set()
        announcement.announcer.announce(ready(2, "sim-2"))
        await calm()
        assert [sent.topic.split("/")[4] for sent in announcement.broker.sent] == ["sim-2"]


async def test_no_more_are_under_way_than_the_witness_can_keep() -> None:
    """A broker lets a client leave only so much unacknowledged; the next has its turn when one is settled."""
    announcement = Announcement()
    async with announcement.going_on():
        for number in range(AT_ONCE + 2):
            announcement.announcer.announce(ready(number, f"sim-{number}"))
        await calm()
        assert announcement.sent == AT_ONCE
        announcement.record.hold()
        announcement.broker.acknowledge(1)
        await calm()
        assert (len(announcement.done), announcement.sent) == (1, AT_ONCE)
        announcement.record.let_go()
        await calm()
        assert announcement.sent == AT_ONCE + 1


# -- when it went -----------------------------------------------------------------------------------------------------


async def test_what_the_broker_has_is_done() -> None:
    """The witness is not asked, and keeps nothing of it once that is durable."""
    announcement = Announcement()
    async with announcement.going_on():
        announcement.announcer.announce(ready(3))
        await calm()
        assert announcement.done == []
        announcement.record.hold()
        announcement.broker.acknowledge()
        await calm()
        assert (announcement.done, announcement.witness.acts) == ([(3, False)], ["clear"])
        announcement.record.let_go()
        await calm()
    assert announcement.witness.acts == ["clear", "settled"]
    assert announcement.sent == 1


# -- when nobody knows whether it went --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("verdict", "sent", "withheld"),
    ((Verdict.SEEN, 1, False), (Verdict.NOT_SEEN, 2, False), (Verdict.LOST, 1, True)),
)
async def test_the_witness_decides_when_the_connection_broke(verdict: Verdict, sent: int, withheld: bool) -> None:
    """Seen, it is done; not seen, it goes again; and where nobody knows, it is withheld for good."""
    announcement = Announcement()
    announcement.witness.verdicts = [verdict]
    async with announcement.going_on():
        announcement.announcer.announce(ready(2))
        await calm()
        await announcement.lose_the_connection()
        announcement.broker.acknowledge()
        await calm()
    assert announcement.witness.asked == [(TOPIC, "token-1")]
    assert (announcement.sent, announcement.done) == (sent, [(2, withheld)])
    assert announcement.witness.acts[-1] == "settled"


async def test_what_goes_again_is_noted_anew() -> None:
    """Under the same token: the witness has watched all the while."""
    announcement = Announcement()
    async with announcement.going_on():
        announcement.announcer.announce(ready())
        await calm()
        await announcement.lose_the_connection()
        assert announcement.record.entries == [RowSent(1, "token-1"), RowSent(1, "token-1")]
        await announcement.lose_the_connection()
    assert announcement.witness.asked == [(TOPIC, "token-1"), (TOPIC, "token-1")]


async def test_nothing_is_sent_while_the_witness_is_silent() -> None:
    """Better late than twice."""
    announcement = Announcement()
    async with announcement.going_on():
        announcement.announcer.announce(ready())
        await calm()
        announcement.witness.may_answer.clear()
        await announcement.lose_the_connection()
        await announcement.lose_the_connection()
        assert (announcement.sent, announcement.done) == (1, [])
        announcement.witness.may_answer.set()
        await calm()
        assert announcement.sent == 2


async def test_nothing_is_in_doubt_that_was_never_handed_over() -> None:
    """The connection had ended just before: ModelsReady goes on the next one, and once."""

    class Torn(FakeBroker):
        """The first connection is gone when something is to go over it."""

        def publish(self, topic: str, payload: bytes) -> asyncio.Future[None]:
            if self.connection and self.connection.number == 1:
                self.disconnect()
            return super().publish(topic, payload)

    announcement = Announcement(Torn())
    async with announcement.going_on():
        with capture_logs() as logs:
            announcement.announcer.announce(ready())
            await calm()
            assert (announcement.sent, announcement.done) == (0, [])
            announcement.broker.connect()
            await calm()
    assert (announcement.sent, announcement.done, logs) == (1, [(1, False)], [])


async def test_what_is_withheld_is_told_to_the_operator() -> None:
    """Nobody else can know: with what to do about it, should the simulation not begin."""
    announcement = Announcement()
    announcement.witness.verdicts = [Verdict.LOST]
    async with announcement.going_on():
        announcement.announcer.announce(ready())
        await calm()
        with capture_logs() as logs:
            await announcement.lose_the_connection()
    (doubt,) = logs
    assert (doubt["event"], doubt["log_level"]) == ("simulation.ready_in_doubt", "error")
    assert (doubt["simulation"], doubt["run"]) == (SIM, 1)
    assert f"mso resend-ready {SIM}" in doubt["hint"]


async def test_what_comes_behind_one_that_is_withheld_goes_on() -> None:
    """It is done as far as others are concerned, and is not counted as sent."""
    desk = Desk(FakeBroker(acknowledges=False))
    desk.witness.verdicts = [Verdict.LOST]
    async with desk.open():
        desk.ask("m-0")
        desk.make_ready("m-0")
        desk.end("m-0")
        await calm()
        assert desk.heard == ["ModelsReady"]
        desk.broker.disconnect()
        desk.broker.connect()
        desk.broker.acknowledge()
        await desk.report.emptied()
    assert desk.heard == ["ModelsReady", "m-0 ModelHasTerminated", "AllModelsHaveTerminated"]
    assert desk.record.of(RowDone) == [RowDone(1, withheld=True), RowDone(2), RowDone(3)]
    assert desk.metrics.registry.get_sample_value("mso_messages_sent_total", {"kind": "models_ready"}) == 0


async def test_what_comes_behind_it_waits_while_it_is_in_doubt() -> None:
    """No event of a simulation overtakes its ModelsReady."""
    desk = Desk(FakeBroker(acknowledges=False))
    async with desk.open():
        desk.ask("m-0")
        desk.make_ready("m-0")
        desk.end("m-0")
        await calm()
        desk.witness.may_answer.clear()
        desk.broker.disconnect()
        desk.broker.connect()
        desk.broker.acknowledge()
        await calm()
        assert desk.heard == ["ModelsReady"]
        desk.witness.verdicts = [Verdict.SEEN]
        desk.witness.may_answer.set()
        await desk.report.emptied()
    assert desk.heard == ["ModelsReady", "m-0 ModelHasTerminated", "AllModelsHaveTerminated"]
    assert desk.metrics.registry.get_sample_value("mso_messages_sent_total", {"kind": "models_ready"}) == 1


# -- another process --------------------------------------------------------------------------------------------------


def test_the_witness_is_told_what_an_earlier_process_handed_over() -> None:
    """Before it hears anything; of what never went it has to know nothing, and other messages may go twice."""
    announcement = Announcement()
    announcement.announcer.resume(
        [ready(1, witness="token-7"), ready(2, "sim-2"), a_row(3), a_row(4, Kind.ALL_TERMINATED)]
    )
    assert announcement.witness.expected == [(TOPIC, "token-7")]


@pytest.mark.parametrize(
    ("verdict", "sent", "withheld"),
    ((Verdict.SEEN, 0, False), (Verdict.NOT_SEEN, 1, False), (Verdict.LOST, 0, True)),
)
async def test_what_an_earlier_process_may_have_sent_is_not_sent_blindly(
    verdict: Verdict, sent: int, withheld: bool
) -> None:
    """The witness is asked first, by what the earlier process noted."""
    announcement = Announcement(FakeBroker())
    announcement.witness.verdicts = [verdict]
    announcement.witness.may_answer.clear()
    async with announcement.going_on():
        announcement.announcer.announce(ready(2, witness="token-7"))
        await calm()
        assert (announcement.witness.acts, announcement.sent) == (["verdict"], 0)
        announcement.witness.may_answer.set()
        await calm()
    assert announcement.witness.asked == [(TOPIC, "token-7")]
    assert (announcement.sent, announcement.done) == (sent, [(2, withheld)])


async def test_what_an_earlier_process_never_handed_over_is_sent() -> None:
    """It was killed before it noted that it would: nobody has to be asked."""
    announcement = Announcement(FakeBroker())
    async with announcement.going_on():
        announcement.announcer.announce(ready())
        await calm()
    assert (announcement.witness.asked, announcement.sent, announcement.done) == ([], 1, [(1, False)])


async def test_a_run_that_was_announced_before_is_not_announced_again() -> None:
    """The row is all that is left of it, and where the row is done there is nothing to send."""
    desk = Desk()
    desk.inventory.restore(run_of(model("a", state=State.RUNNING, ready=True), announced=True))
    desk.report.resume([], 1)
    async with desk.open():
        desk.make_ready("a")
        desk.end("a")
        await desk.report.emptied()
    assert desk.heard == ["a ModelHasTerminated", "AllModelsHaveTerminated"]


async def test_one_that_can_never_go_is_given_up_alone() -> None:
    """The broker's edge refuses it for what it is: that is said, and the service and its other simulations go on."""
    desk = Desk()
    desk.broker.unsendable.add(TOPIC)
    async with desk.open():
        with capture_logs() as logs:
            desk.ask("m-0")
            desk.make_ready("m-0")
            desk.end("m-0")
            await desk.report.emptied()
    assert desk.heard == ["m-0 ModelHasTerminated", "AllModelsHaveTerminated"]
    assert [event["log_level"] for event in logs if event["event"] == "message.unsendable"] == ["error"]
