"""What became of a ModelsReady: the verdict, one interleaving at a time."""

import asyncio

import pytest
from structlog.testing import capture_logs

from mso.observers.witness import Verdict
from tests.fakes.exchange import Exchange
from tests.happening import calm
from tests.observers.witnessed import OTHER, TOPIC, process

SEEN, NOT_SEEN, LOST = Verdict.SEEN, Verdict.NOT_SEEN, Verdict.LOST


@pytest.fixture
def exchange() -> Exchange:
    return Exchange()


def out(exchange: Exchange, topic: str = TOPIC) -> int:
    """How often it went out."""
    return exchange.processed.count((topic, b""))


# -- in one process ---------------------------------------------------------------------------------------------------


async def test_what_was_processed_before_the_connection_broke_is_seen(exchange: Exchange) -> None:
    """The PUBACK was lost, and the copy tells."""
    async with process(exchange) as mso:
        mso.connect()
        token = await mso.clear()
        mso.hand_over_and_break(processed=True)
        mso.main.connect()
        assert await mso.verdict(token) is SEEN


async def test_a_copy_that_was_heard_needs_no_connection(exchange: Exchange) -> None:
    """Nothing has to be waited for when the answer is there."""
    async with process(exchange) as mso:
        mso.connect()
        token = await mso.clear()
        mso.hand_over_and_break(processed=True)
        await mso.flow()
        mso.session.lose()
        assert await mso.verdict(token) is SEEN


async def test_what_the_connection_took_along_goes_again_under_the_same_token(exchange: Exchange) -> None:
    """It may be handed over any number of times, until it goes out once."""
    async with process(exchange) as mso:
        mso.connect()
        token = await mso.clear()
        for _ in range(2):
            mso.hand_over_and_break(processed=False)
            mso.main.connect()
            assert await mso.verdict(token) is NOT_SEEN
        mso.hand_over_and_break(processed=True)
        mso.main.connect()
        assert await mso.verdict(token) is SEEN
        assert out(exchange) == 1


@pytest.mark.parametrize("processed", (True, False))
async def test_what_is_still_on_its_way_is_waited_for(exchange: Exchange, processed: bool) -> None:
    """What lies on the old connection may get through until the new one is made, and never after."""
    async with process(exchange) as mso:
        mso.connect()
        token = await mso.clear()
        old = mso.hand_over()
        mso.main.lose()
        asked = asyncio.create_task(mso.witness.verdict(TOPIC, token))
        await calm()
        assert not asked.done()
        if processed:
            old.up.popleft()()
        mso.main.connect()
        await mso.flow()
        assert await asked is (SEEN if processed else NOT_SEEN)
        assert out(exchange) == processed


@pytest.mark.parametrize("processed", (True, False))
async def test_a_broker_that_restarts_with_its_memory_costs_nothing(exchange: Exchange, processed: bool) -> None:
    """Token, copy and what we say to ourselves are all in the session."""
    async with process(exchange) as mso:
        mso.connect()
        token = await mso.clear()
        mso.hand_over_and_break(processed=processed)
        exchange.restart()
        mso.connect()
        assert await mso.verdict(token) is (SEEN if processed else NOT_SEEN)


@pytest.mark.parametrize("processed", (True, False))
async def test_a_broker_that_forgot_the_session_makes_it_lost(exchange: Exchange, processed: bool) -> None:
    """That there is no copy means nothing when nobody was there to take one."""
    async with process(exchange) as mso:
        mso.connect()
        token = await mso.clear()
        mso.hand_over_and_break(processed=processed)
        exchange.restart({})
        mso.connect()
        assert await mso.verdict(token) is LOST


@pytest.mark.parametrize("with_an_old_copy", (True, False))
async def test_a_broker_that_woke_up_with_an_older_memory_makes_it_lost(
    exchange: Exchange, with_an_old_copy: bool
) -> None:
    """The session is there, but as it was before the row; and a copy in it is of an earlier run."""
    async with process(exchange) as mso:
        mso.connect()
        old = mso.hand_over()
        if with_an_old_copy:
            old.up.popleft()()
        older = exchange.remember()
        await mso.flow()
        token = await mso.clear()
        mso.hand_over_and_break(processed=True)
        exchange.restart(older)
        mso.connect()
        assert await mso.verdict(token) is LOST


@pytest.mark.parametrize("order", (("main", "session"), ("session", "main")))
@pytest.mark.parametrize("processed", (True, False))
async def test_it_matters_not_who_is_connected_first(
    exchange: Exchange, order: tuple[str, str], processed: bool
) -> None:
    """The verdict waits for both."""
    async with process(exchange) as mso:
        mso.connect()
        token = await mso.clear()
        mso.session.reset()
        mso.hand_over_and_break(processed=processed)
        asked = asyncio.create_task(mso.witness.verdict(TOPIC, token))
        for name in order:
            await mso.flow()
            assert not asked.done()
            getattr(mso, name).connect()
        await mso.flow()
        assert await asked is (SEEN if processed else NOT_SEEN)


@pytest.mark.parametrize("victim", ("main", "session", "broker"))
@pytest.mark.parametrize("moves", range(6))
@pytest.mark.parametrize("processed", (True, False))
async def test_a_connection_that_breaks_while_it_is_settled_begins_it_again(
    exchange: Exchange, victim: str, moves: int, processed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At whatever step either of them breaks, or both do, the verdict is the same."""
    monkeypatch.setattr("mso.observers.witness.ECHO_SECONDS", 0.2)
    async with process(exchange) as mso:
        mso.connect()
        token = await mso.clear()
        mso.hand_over_and_break(processed=processed)
        mso.session.reset()
        mso.connect()
        asked = asyncio.create_task(mso.witness.verdict(TOPIC, token))
        await calm()
        for _ in range(moves):
            if possible := exchange.moves:
                possible[-1].popleft()()
            await calm()
        match victim:
            case "main":
                mso.main.reset()
                mso.main.connect()
            case "session":
                mso.session.reset()
                mso.session.connect()
            case _:
                exchange.restart()
                mso.connect()
        assert await mso.when(asked) == [SEEN if processed else NOT_SEEN]


@pytest.mark.parametrize("forgets", (True, False))
async def test_what_came_on_the_connection_before_is_not_believed_on_this_one(
    exchange: Exchange, forgets: bool
) -> None:
    """What we said to ourselves came back, and before anybody looked the broker was another."""
    async with process(exchange) as mso:
        mso.connect()
        token = await mso.clear()
        mso.hand_over_and_break(processed=False)
        mso.main.connect()
        asked = asyncio.create_task(mso.witness.verdict(TOPIC, token))
        await calm()
        while mso.main.link and (moves := mso.main.link.moves):
            moves[0].popleft()()
        while moves := exchange.moves:
            moves[0].popleft()()
        exchange.restart({} if forgets else None)
        mso.connect()
        assert await mso.when(asked) == [LOST if forgets else NOT_SEEN]


async def test_a_copy_in_an_older_memory_is_not_believed_when_the_right_one_is_back(exchange: Exchange) -> None:
    """A broker may have several memories, and wake up with one after the other."""
    async with process(exchange) as mso:
        mso.connect()
        mso.hand_over().up.popleft()()
        older = exchange.remember()
        await mso.flow()
        token = await mso.clear()
        mso.hand_over_and_break(processed=False)
        right = exchange.remember()
        for memory in (older, right):
            exchange.restart(memory)
            mso.session.connect()
            await mso.flow()
        mso.main.connect()
        assert await mso.verdict(token) is NOT_SEEN


async def test_each_topic_has_a_verdict_of_its_own(exchange: Exchange) -> None:
    """Two simulations break off at the same time: one went out and one did not."""
    async with process(exchange) as mso:
        mso.connect()
        first, second = await mso.when(mso.witness.clear(TOPIC), mso.witness.clear(OTHER))
        mso.hand_over().up.popleft()()
        mso.hand_over_and_break(OTHER, processed=False)
        mso.main.connect()
        verdicts = mso.witness.verdict(TOPIC, first), mso.witness.verdict(OTHER, second)
        assert await mso.when(*verdicts) == [SEEN, NOT_SEEN]


@pytest.mark.parametrize("processed", (True, False))
@pytest.mark.parametrize("window", (1, 2))
async def test_a_broker_that_sends_one_thing_at_a_time_tells_it_as_well(
    processed: bool, window: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nothing comes before something is acknowledged, the token is, once it was heard; and only once."""
    monkeypatch.setattr("mso.observers.witness.ECHO_SECONDS", 0.05)
    exchange = Exchange(window=window)
    async with process(exchange) as mso:
        mso.connect()
        token = await mso.clear()
        mso.hand_over_and_break(processed=processed)
        mso.main.connect()
        assert await mso.verdict(token) is (SEEN if processed else NOT_SEEN)
        mso.witness.settled(TOPIC, token)
        await mso.flow()
        assert exchange.stored("mso-witness") == []
        assert mso.session.acknowledged.count(TOPIC) == processed


async def test_an_old_copy_that_stops_up_the_session_makes_it_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing comes before it is acknowledged, and its token is not before it, nothing else can be found out."""
    monkeypatch.setattr("mso.observers.witness.ECHO_SECONDS", 0.05)
    exchange = Exchange(window=1)
    async with process(exchange) as mso:
        mso.connect()
        mso.hand_over().up.popleft()()
        older = exchange.remember()
        await mso.flow()
        token = await mso.clear()
        mso.hand_over_and_break(processed=False)
        exchange.restart(older)
        mso.connect()
        assert await mso.verdict(token) is LOST


# -- over kill -9 -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("moment", ("noted", "on its way", "processed", "copy heard", "acknowledged"))
async def test_a_process_that_is_killed_leaves_all_that_the_next_one_needs(exchange: Exchange, moment: str) -> None:
    """Killed at whatever moment between noting the token and settling the row, the next process knows what happened."""
    async with process(exchange) as mso:
        mso.connect()
        token = await mso.clear()
        if moment != "noted":
            mso.hand_over()
        for _ in range({"processed": 1, "copy heard": 2, "acknowledged": 3}.get(moment, 0)):
            exchange.moves[0].popleft()()
            await calm()
    async with process(exchange, token) as mso:
        mso.connect()
        assert await mso.verdict(token) is (NOT_SEEN if moment in ("noted", "on its way") else SEEN)
        assert out(exchange) == (moment not in ("noted", "on its way"))


async def test_it_matters_not_who_connected_in_between_and_died(exchange: Exchange) -> None:
    """A process that made the session anew and was killed before it could say so does not make it the old one."""
    async with process(exchange) as mso:
        mso.connect()
        token = await mso.clear()
        mso.hand_over()
        exchange.restart({})
    async with process(exchange, token) as mso:
        mso.connect()
    async with process(exchange, token) as mso:
        mso.connect()
        connection = await mso.session.connected()
        assert connection.session_present
        assert await mso.verdict(token) is LOST


async def test_killed_after_the_verdict_it_comes_to_the_same_again(exchange: Exchange) -> None:
    """A verdict uses nothing up before the row is settled."""
    async with process(exchange) as mso:
        mso.connect()
        token = await mso.clear()
        mso.hand_over()
    for _ in range(3):
        async with process(exchange, token) as mso:
            mso.connect()
            assert await mso.verdict(token) is NOT_SEEN
            mso.hand_over()
    exchange.moves[0].popleft()()
    for _ in range(3):
        async with process(exchange, token) as mso:
            mso.connect()
            assert await mso.verdict(token) is SEEN
    assert out(exchange) == 1


async def test_a_process_that_was_deposed_and_still_runs_cannot_mislead(exchange: Exchange) -> None:
    """It takes the session over and acknowledges what means nothing to it: what is lost is certainty, and no more."""
    async with process(exchange) as deposed, process(exchange) as mso:
        deposed.connect()
        mso.connect()
        token = await mso.clear()
        mso.hand_over_and_break(processed=True)
        deposed.session.connect()
        await deposed.flow()
        mso.connect()
        assert await mso.verdict(token) is LOST


# -- what is said of it -----------------------------------------------------------------------------------------------


async def test_a_token_that_nobody_announced_is_lost(exchange: Exchange) -> None:
    """What belongs to it was acknowledged on arrival."""
    async with process(exchange) as mso:
        mso.connect()
        await mso.clear()
        assert await mso.verdict("somebody else's") is LOST
        assert await mso.verdict("nobody's", OTHER) is LOST


async def test_a_verdict_is_logged(exchange: Exchange) -> None:
    """That a row was in doubt, and how that ended, is told with its topic."""
    with capture_logs() as logs:
        async with process(exchange) as mso:
            mso.connect()
            token = await mso.clear()
            mso.hand_over_and_break(processed=True)
            mso.main.connect()
            await mso.verdict(token)
    assert [(entry["event"], entry["topic"], entry["verdict"]) for entry in logs] == [
        ("witness.verdict", TOPIC, "seen")
    ]
