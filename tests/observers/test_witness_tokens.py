"""What the witness keeps and what it lets go: tokens, copies, and everything else."""

import asyncio
import gc

import pytest
from structlog.testing import capture_logs

from mso.model import SimulatorName
from mso.observers.witness import Verdict, Witness
from mso.protocol import topics
from tests.fakes.broker import FakeBroker
from tests.fakes.exchange import Client, Exchange
from tests.happening import calm
from tests.observers.witnessed import NONCE, OTHER, TOPIC, process

SEEN, NOT_SEEN = Verdict.SEEN, Verdict.NOT_SEEN
STRANGE = ((OTHER, b""), (NONCE, b"\xff"), (NONCE, b""))


@pytest.fixture
def exchange() -> Exchange:
    return Exchange()


def kept(exchange: Exchange) -> list[str]:
    """What the broker keeps for the witness."""
    return exchange.stored("mso-witness")


# -- topics -----------------------------------------------------------------------------------------------------------


def test_the_filters_are_exact() -> None:
    """Every ModelsReady for the simulators that are served, what we say to ourselves, and nothing else."""
    assert topics.witness_filters((SimulatorName("dots-so"), SimulatorName("essim")), "mso") == (
        "/lifecycle/mso/dots-so/+/ModelsReady",
        "/lifecycle/mso/essim/+/ModelsReady",
        "/mso/mso/witness",
    )


@pytest.mark.parametrize("client_id", ("mso-dots-so", "a/b", "a+b", "a#b", "a b", "a\0b", "ä", "😀", "100%", ""))
def test_any_client_id_makes_a_topic_that_no_simulator_listens_to(client_id: str) -> None:
    """Three levels, of characters that every broker lets pass."""
    beginning, own, level, end = topics.nonce(client_id).split("/")
    assert (beginning, own, end) == ("", "mso", "witness")
    assert all(character.isascii() and (character.isalnum() or character in "-_.%") for character in level)


def test_different_client_ids_make_different_topics() -> None:
    """What one says to itself another does not hear, however much the names look alike."""
    names = ("a/b", "a%2Fb", "a+b", "a b", "a_b", "A/b")
    assert len({topics.nonce(name) for name in names}) == len(names)


# -- what is kept until the row is settled ----------------------------------------------------------------------------


async def test_token_and_copy_stay_until_the_row_is_settled(exchange: Exchange) -> None:
    """Neither is acknowledged before that, on no connection; then both are."""
    async with process(exchange) as mso:
        mso.connect()
        token = await mso.clear()
        mso.hand_over()
        await mso.flow()
        mso.connect()
        await mso.verdict(token)
        assert kept(exchange) == [NONCE, TOPIC]
        mso.witness.settled(TOPIC, token)
        await mso.flow()
        assert kept(exchange) == []


async def test_a_copy_that_comes_after_its_row_was_settled_goes_at_once(exchange: Exchange) -> None:
    """PUBACK may overtake it, and so may the ledger."""
    async with process(exchange) as mso:
        mso.connect()
        token = await mso.clear()
        mso.hand_over().up.popleft()()
        mso.witness.settled(TOPIC, token)
        await mso.flow()
        assert kept(exchange) == []


async def test_a_row_that_was_settled_on_a_lost_connection_goes_on_the_next(exchange: Exchange) -> None:
    """An acknowledgement that was lost is given again when the broker asks for it."""
    async with process(exchange) as mso:
        mso.connect()
        token = await mso.clear()
        mso.hand_over()
        await mso.flow()
        mso.witness.settled(TOPIC, token)
        mso.session.reset()
        mso.session.connect()
        await mso.flow()
        assert kept(exchange) == []


async def test_what_is_settled_late_is_not_the_next_run(exchange: Exchange) -> None:
    """Who settles a row when the next one of its topic is outstanding already settles nothing."""
    async with process(exchange) as mso:
        mso.connect()
        earlier = await mso.clear()
        mso.witness.settled(TOPIC, earlier)
        token = await mso.clear()
        mso.witness.settled(TOPIC, earlier)
        mso.hand_over_and_break(processed=True)
        mso.main.connect()
        assert await mso.verdict(token) is SEEN


async def test_what_is_of_no_row_is_acknowledged_and_ignored(exchange: Exchange) -> None:
    """Other topics, retained messages, what others write to our topic; and a second copy, which is somebody else's."""
    async with process(exchange) as mso:
        mso.connect()
        token = await mso.clear()
        mso.session.acknowledged.clear()
        somebody = Client(exchange, "somebody")
        somebody.connect()
        await mso.when(*(somebody.publish(topic, payload) for topic, payload in STRANGE))
        assert kept(exchange) == [NONCE]
        assert mso.session.acknowledged == [topic for topic, _ in STRANGE]
        await mso.when(somebody.publish(TOPIC, b""), somebody.publish(TOPIC, b""))
        await mso.flow()
        assert kept(exchange) == [NONCE, TOPIC]
        assert await mso.verdict(token) is SEEN


async def test_a_retained_message_tells_nothing() -> None:
    """It is of the past: not even our own words are believed when they were retained."""
    session, main = FakeBroker(), FakeBroker()
    witness = Witness(session, main, NONCE)
    witness.expect(TOPIC, "a token")
    watch = asyncio.create_task(witness.watch())
    session._inbox.put_nowait(session.message(NONCE, b"a token", retained=True))
    session._inbox.put_nowait(session.message(TOPIC, retained=True))
    await calm()
    assert session.acknowledged == [NONCE, TOPIC]
    watch.cancel()


# -- the next run of the same simulation ------------------------------------------------------------------------------


@pytest.mark.parametrize("moment", ("on its way", "not acknowledged", "acknowledged in vain", "in the queue"))
async def test_the_copy_of_the_run_before_is_not_that_of_this_one(exchange: Exchange, moment: str) -> None:
    """Wherever the old copy is when the next run is cleared, it is never taken for the new one."""
    async with process(exchange) as mso:
        mso.connect()
        token = await mso.clear()
        if moment == "in the queue":
            mso.session.reset()
        mso.hand_over().up.popleft()()
        if moment in ("not acknowledged", "acknowledged in vain"):
            await mso.flow()
        if moment == "acknowledged in vain":
            mso.witness.settled(TOPIC, token)
            mso.session.reset()
    async with process(exchange) as mso:
        mso.connect()
        token = await mso.clear()
        mso.session.reset()
        mso.hand_over_and_break(processed=False)
        exchange.restart()
        mso.connect()
        assert await mso.verdict(token) is NOT_SEEN


async def test_an_old_copy_that_comes_while_it_is_cleared_is_acknowledged_before_the_token_is_given(
    exchange: Exchange,
) -> None:
    """The broker has heard the acknowledgement when the run is handed over, so the copy never comes again."""
    async with process(exchange) as mso:
        mso.connect()
        mso.session.reset()
        mso.hand_over().up.popleft()()
        mso.session.connect()
        asked = asyncio.create_task(mso.witness.clear(TOPIC))
        await calm()
        while not asked.done():
            exchange.moves[-1].popleft()()
            await calm()
        assert TOPIC not in kept(exchange)


async def test_a_token_that_was_heard_on_a_connection_that_has_ended_is_not_given(exchange: Exchange) -> None:
    """The session may be another by now."""
    async with process(exchange) as mso:
        mso.connect()
        asked = asyncio.create_task(mso.witness.clear(TOPIC))
        await calm()
        while moves := exchange.moves:
            moves[0].popleft()()
        exchange.restart({})
        mso.connect()
        (token,) = await mso.when(asked)
        assert [stored.payload for stored in exchange.memory["mso-witness"].stored] == [token.encode()]


async def test_what_broke_after_it_was_answered_is_no_error(
    exchange: Exchange, caplog: pytest.LogCaptureFixture
) -> None:
    """A PUBACK that is missing for what has come back to us is missed by nobody."""
    async with process(exchange) as mso:
        mso.connect()
        token = await mso.clear()
        asked = asyncio.create_task(mso.witness.verdict(TOPIC, token))
        await calm()
        for link in (mso.main.link, mso.session.link):
            assert link
            link.moves[0].popleft()()
        assert await asked is NOT_SEEN
        mso.main.reset()
        await calm()
        del link
    exchange.links.clear()
    gc.collect()
    assert "never retrieved" not in caplog.text


async def test_to_clear_begins_again_when_the_connection_breaks(exchange: Exchange) -> None:
    """At whatever step: the token that is given is in the session, and it alone."""
    async with process(exchange) as mso:
        asked = asyncio.create_task(mso.witness.clear(TOPIC))
        for moves in range(4):
            mso.session.connect()
            await calm()
            for _ in range(moves):
                if possible := exchange.moves:
                    possible[0].popleft()()
                if moves < 3:
                    await calm()
            mso.session.reset()
            await calm()
        mso.session.connect()
        (token,) = await mso.when(asked)
        await mso.flow()
        assert [stored.payload for stored in exchange.memory["mso-witness"].stored] == [token.encode()]


async def test_to_clear_what_is_outstanding_gives_the_same_token_where_it_holds(exchange: Exchange) -> None:
    """Killed before the new one was noted, a process would leave an old one behind that nobody knows any more."""
    async with process(exchange) as mso:
        mso.connect()
        token = await mso.clear()
        assert await mso.clear() == token
        exchange.restart({})
        mso.connect()
        other = await mso.clear()
        assert other != token
        mso.hand_over_and_break(processed=False)
        mso.main.connect()
        assert await mso.verdict(other) is NOT_SEEN


async def test_who_gives_up_clearing_leaves_nothing_behind(exchange: Exchange) -> None:
    """Cancelled in the middle, it is as if nobody had asked."""
    async with process(exchange) as mso:
        mso.connect()
        asked = asyncio.create_task(mso.witness.clear(TOPIC))
        await calm()
        asked.cancel()
        await mso.flow()
        assert kept(exchange) == []


# -- brokers that send again late -------------------------------------------------------------------------------------


@pytest.mark.parametrize("processed", (True, False))
@pytest.mark.parametrize("in_order", (True, False))
async def test_a_broker_that_sends_again_late_is_waited_for(processed: bool, in_order: bool) -> None:
    """nats-server sends what was not acknowledged long after what was published since: copy and token may come last."""
    exchange = Exchange(late=True)
    async with process(exchange) as mso:
        mso.connect()
        token = await mso.clear()
        link = mso.hand_over()
        if processed:
            link.up.popleft()()
        else:
            mso.main.reset()
        await mso.flow()
    if not in_order:
        exchange.memory["mso-witness"].stored.reverse()
    async with process(exchange, token, late_seconds=0.2) as mso:
        mso.connect()
        asked = asyncio.create_task(mso.witness.verdict(TOPIC, token))
        await mso.flow()
        assert not asked.done()
        exchange.send_again("mso-witness")
        assert await mso.when(asked) == [SEEN if processed else NOT_SEEN]


async def test_nothing_is_cleared_while_an_old_copy_may_still_come() -> None:
    """After a connection to a session that was there, for as long as the broker takes; in a new one there is none."""
    exchange = Exchange(late=True)
    async with process(exchange, late_seconds=0.2) as mso:
        mso.connect()
        await mso.clear()
        mso.hand_over().up.popleft()()
        await mso.flow()
    async with process(exchange, late_seconds=0.2) as mso:
        mso.connect()
        asked = asyncio.create_task(mso.witness.clear(TOPIC))
        await mso.flow()
        exchange.send_again("mso-witness")
        await mso.when(asked)
        assert kept(exchange) == [NONCE]
        began = asyncio.get_running_loop().time()
        exchange.restart({})
        mso.connect()
        await mso.clear(OTHER)
        assert asyncio.get_running_loop().time() - began < 0.2


# -- trouble ----------------------------------------------------------------------------------------------------------


async def test_without_its_connection_no_models_ready_can_go_out(exchange: Exchange) -> None:
    """Readiness says so, for as long as it lasts."""
    async with process(exchange) as mso:
        assert "not connected" in mso.witness.trouble()
        mso.connect()
        assert mso.witness.trouble() == ""
        mso.session.lose()
        assert "not connected" in mso.witness.trouble()


async def test_a_broker_that_lets_it_not_hear_itself_is_told_aloud(
    exchange: Exchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MQTT 3.1.1 acknowledges what it does not deliver for want of rights: only that nothing comes tells. Said once."""
    monkeypatch.setattr("mso.observers.witness.ECHO_SECONDS", 0.02)
    async with process(exchange) as mso:
        mso.connect()
        exchange.memory["mso-witness"].filters = ()
        with capture_logs() as logs:
            asked = asyncio.create_task(mso.witness.clear(TOPIC))
            async with asyncio.timeout(5):
                while len(exchange.processed) < 3:
                    await mso.flow()
                    await asyncio.sleep(0.005)
        assert [(entry["event"], entry["topic"]) for entry in logs] == [("witness.deaf", NONCE)]
        assert NONCE in mso.witness.trouble()
        mso.session.connect()
        await mso.when(asked)
        assert mso.witness.trouble() == ""


async def test_what_a_connection_took_along_is_said_again_without_complaint(
    exchange: Exchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Acknowledged to us and then forgotten: no future fails, and that the connection is another one has to be seen."""
    monkeypatch.setattr("mso.observers.witness.ECHO_SECONDS", 1)
    monkeypatch.setattr("mso.observers.witness.LOOKS", 100)
    async with process(exchange) as mso:
        mso.connect()
        asked = asyncio.create_task(mso.witness.clear(TOPIC))
        await calm()
        link = mso.session.link
        assert link
        link.up.popleft()()
        del link.down[0]
        link.down.popleft()()
        exchange.restart({})
        mso.connect()
        with capture_logs() as logs:
            await mso.when(asked)
        assert logs == []


async def test_a_topic_that_cannot_be_published_ends_the_process() -> None:
    """It is a bug, and would otherwise be tried for ever."""
    session = FakeBroker()
    session.unsendable.add(NONCE)
    with pytest.raises(ValueError, match="no such topic"):
        await Witness(session, FakeBroker(), NONCE).clear(TOPIC)
