"""The witness on the embedded broker, which sends again late what was not acknowledged."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion

from mso.broker.embedded import EmbeddedBroker
from mso.observers.witness import Verdict
from tests.integration.witnessing import running
from tests.mqtt import Reachable, displace
from tests.observers.witnessed import TOPIC, Row

pytestmark = pytest.mark.broker

SEEN, NOT_SEEN, LOST = Verdict.SEEN, Verdict.NOT_SEEN, Verdict.LOST
LATE_SECONDS = 6.0
"""What it takes to send again: its ack_wait, and a little."""


@pytest.fixture
async def embedded(tmp_path: Path) -> AsyncIterator[EmbeddedBroker]:
    async with EmbeddedBroker(tmp_path / "broker") as broker:
        yield broker


@pytest.mark.parametrize("processed", (True, False))
@pytest.mark.parametrize("process", ("the same", "the next"))
async def test_the_embedded_broker_is_told_the_truth_of_as_well(
    embedded: EmbeddedBroker, processed: bool, process: str
) -> None:
    """It sends again, seconds later than what is new, what was not acknowledged; that is waited for."""
    async with running(embedded, late_seconds=LATE_SECONDS) as mso:
        row = Row(TOPIC, token=await mso.witness.clear(TOPIC))
        if processed:
            await mso.main.publish(TOPIC, b"")
        if process == "the same":
            await asyncio.to_thread(displace, embedded, "mso")
            assert await mso.witness.verdict(TOPIC, row.token) is (SEEN if processed else NOT_SEEN)
            return
    async with running(embedded, row, late_seconds=LATE_SECONDS) as mso:
        assert await mso.witness.verdict(TOPIC, row.token) is (SEEN if processed else NOT_SEEN)


async def test_an_embedded_broker_that_forgets_makes_it_lost(embedded: EmbeddedBroker) -> None:
    """Somebody wiped the session, and a process has been there since."""
    async with running(embedded) as mso:
        row = Row(TOPIC, token=await mso.witness.clear(TOPIC))
    await asyncio.to_thread(wipe, embedded, "mso-witness")
    async with running(embedded) as mso:
        await mso.session.connected()
    async with running(embedded, row, late_seconds=LATE_SECONDS) as mso:
        assert await mso.witness.verdict(TOPIC, row.token) is LOST


async def test_on_the_embedded_broker_the_copy_of_the_run_before_is_waited_for(embedded: EmbeddedBroker) -> None:
    """A process that did not settle the last run is followed by one that begins the next."""
    async with running(embedded) as mso:
        await mso.witness.clear(TOPIC)
        await mso.main.publish(TOPIC, b"")
    async with running(embedded, late_seconds=LATE_SECONDS) as mso:
        row = Row(TOPIC, token=await mso.witness.clear(TOPIC))
    async with running(embedded, row, late_seconds=LATE_SECONDS) as mso:
        assert await mso.witness.verdict(TOPIC, row.token) is NOT_SEEN


def wipe(broker: Reachable, client_id: str) -> None:
    """End a session: what the broker kept of it is gone."""
    client = paho.Client(CallbackAPIVersion.VERSION2, client_id, clean_session=True)
    client.username_pw_set(broker.username, broker.password)
    client.on_connect = lambda client, *_: client.disconnect()
    client.connect(broker.host, broker.port)
    client.loop_forever()
