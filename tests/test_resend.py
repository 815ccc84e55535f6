"""A ModelsReady that was withheld is sent when an operator says so: once."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mso.ledger import Ledger, RowDone, RowPut, RunKept, RunRecord
from mso.ledger.sql import SqlLedger
from mso.outbox import Kind, Row
from mso.resend import NotResentError, resend_ready
from tests.builders import RUN, SIM, request
from tests.fakes.broker import FakeBroker

TOPIC = "/lifecycle/mso/essim/sim-1/ModelsReady"


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[Ledger]:
    """It holds a live run whose ModelsReady was withheld."""
    async with SqlLedger(tmp_path / "ledger.sqlite") as ledger:
        await ledger.claim()
        row = Row(1, Kind.MODELS_READY, SIM, TOPIC, b"", RUN, witness="token")
        await ledger.commit([RunKept(RunRecord(RUN, request(), announced=True)), RowPut(row)])
        await ledger.commit([RowDone(1, withheld=True)])
        yield ledger


async def test_it_is_sent_and_then_it_is_not_withheld_any_more(ledger: Ledger) -> None:
    """Who says it twice sends it once."""
    broker = FakeBroker()
    await resend_ready(ledger, broker, SIM)
    with pytest.raises(NotResentError, match="is withheld"):
        await resend_ready(ledger, FakeBroker(), SIM)
    assert [sent.topic for sent in broker.sent] == [TOPIC]


async def test_while_the_broker_is_away_it_stays_withheld(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """What did not go out can still go."""
    monkeypatch.setattr("mso.resend.CONNECT_SECONDS", 0.05)
    with pytest.raises(NotResentError, match="cannot be reached"):
        await resend_ready(ledger, FakeBroker(connected=False), SIM)
    assert await ledger.withheld(SIM)


async def test_one_that_may_have_gone_is_not_offered_again(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection broke before the broker acknowledged: a second one would do harm."""
    monkeypatch.setattr("mso.resend.ACKNOWLEDGE_SECONDS", 0.05)
    with pytest.raises(NotResentError, match="nobody knows"):
        await resend_ready(ledger, FakeBroker(acknowledges=False), SIM)
    assert await ledger.withheld(SIM) is None


async def test_it_disturbs_no_service(ledger: Ledger) -> None:
    """The service goes on writing: nobody has claimed the ledger from it."""
    await resend_ready(ledger, FakeBroker(), SIM)
    await ledger.commit([RunKept(RunRecord(RUN, request(), announced=True, stopping=True))])
