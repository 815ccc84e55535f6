"""The absentee, which is hardly ever there, so that Mosquitto saves what the witness has not acknowledged."""

import asyncio

import pytest

from mso.observers.witness import Absentee
from tests.fakes.exchange import Client, Exchange
from tests.happening import calm
from tests.observers.witnessed import FILTERS, NONCE, TOPIC, process


@pytest.fixture
def exchange() -> Exchange:
    return Exchange()


async def test_the_absentee_subscribes_takes_what_has_gathered_and_is_gone(exchange: Exchange) -> None:
    """Then the broker keeps for it, on disk, what comes from there on."""
    sessions: list[Client] = []

    def open_session() -> Client:
        sessions.append(Client(exchange, "mso-absentee", FILTERS))
        return sessions[-1]

    async with process(exchange) as mso:
        mso.connect()
        for _ in range(2):
            visiting = asyncio.create_task(Absentee(open_session, NONCE).visit())
            await calm()
            sessions[-1].connect()
            await mso.when(visiting)
            assert sessions[-1].connection is None
            assert exchange.stored("mso-absentee") == []
            token = await mso.clear()
            mso.hand_over()
            await mso.flow()
            mso.witness.settled(TOPIC, token)
            assert exchange.stored("mso-absentee") == [NONCE, NONCE, TOPIC]
            assert [stored.topic for stored in exchange.saved["mso-witness"].stored] == [NONCE, TOPIC]
            await mso.flow()


async def test_an_absentee_whose_connection_breaks_comes_again(
    exchange: Exchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A visit is over when it has heard what it said last itself."""
    monkeypatch.setattr("mso.observers.witness.ECHO_SECONDS", 0.05)
    session = Client(exchange, "mso-absentee", FILTERS)
    async with process(exchange) as mso:
        visiting = asyncio.create_task(Absentee(lambda: session, NONCE).visit())
        await calm()
        session.connect()
        await calm()
        session.reset()
        await asyncio.wait([visiting], timeout=0.1)
        session.connect()
        await mso.when(visiting)
    assert exchange.stored("mso-absentee") == []


async def test_the_absentee_comes_again_and_again(exchange: Exchange, monkeypatch: pytest.MonkeyPatch) -> None:
    """For a broker keeps only so many messages, and only for so long."""
    monkeypatch.setattr("mso.observers.witness.AWAY_SECONDS", 0.001)
    session = Client(exchange, "mso-absentee", FILTERS)
    absent = asyncio.create_task(Absentee(lambda: session, NONCE).keep_away())
    for _ in range(3):
        while session.connection is None:
            await asyncio.sleep(0.002)
            session.connect()
        async with process(exchange) as mso:
            while session.connection is not None:
                await mso.flow()
    absent.cancel()
