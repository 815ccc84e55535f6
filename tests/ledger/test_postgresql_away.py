"""A ledger on a PostgreSQL server that is killed, stopped or silent: an error until it is back, and no longer."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from mso.ledger import LedgerError, Noted
from mso.ledger.sql import SqlLedger
from tests.ledger.conftest import ON_OUR_POSTGRESQL
from tests.postgres import Postgres

pytestmark = ON_OUR_POSTGRESQL


@pytest.fixture
async def ledger(our_database: str) -> AsyncIterator[SqlLedger]:
    """Claimed, on a server that may be killed, and patient for a second."""
    async with SqlLedger(our_database, patience_seconds=1) as ledger:
        await ledger.claim()
        await ledger.commit([Noted("before", "it")])
        yield ledger


async def test_a_killed_server_is_an_error_until_it_is_back(postgres: Postgres, ledger: SqlLedger) -> None:
    """Every call fails while it is away, and works again after, without opening the ledger again."""
    for number in range(3):
        postgres.kill()
        try:
            for _ in range(2):
                with pytest.raises(LedgerError):
                    await ledger.commit([Noted("lost", str(number))])
            with pytest.raises(LedgerError):
                await ledger.recover()
            with pytest.raises(LedgerError):
                await ledger.claim()
        finally:
            postgres.start()
        await ledger.commit([Noted(f"kept-{number}", "")])
    assert (await ledger.recover()).notes.keys() == {"before", "kept-0", "kept-1", "kept-2"}


async def test_a_restart_between_two_commits_is_not_noticed(postgres: Postgres, ledger: SqlLedger) -> None:
    """A connection that ended while nobody used it is replaced before it is used."""
    postgres.stop()
    postgres.start()
    await ledger.commit([Noted("after", "it")])
    assert (await ledger.recover()).notes == {"before": "it", "after": "it"}


async def test_a_server_that_is_killed_during_commits_keeps_whole_ones(postgres: Postgres, ledger: SqlLedger) -> None:
    """Those that returned are there, and of the one that failed all or nothing."""

    async def commit_until_refused() -> int:
        for number in range(1_000_000):
            try:
                await ledger.commit([Noted("one", str(number)), Noted("two", str(number))])
            except LedgerError:
                return number
        raise AssertionError

    commits = asyncio.create_task(commit_until_refused())
    await asyncio.sleep(0.2)
    await asyncio.to_thread(postgres.kill)
    refused = await commits
    postgres.start()
    notes = (await ledger.recover()).notes
    assert notes["one"] == notes["two"]
    assert int(notes["one"]) in (refused - 1, refused)


async def test_a_server_that_says_nothing_is_an_error(postgres: Postgres, ledger: SqlLedger) -> None:
    """It takes connections, and answers none: no call waits for it for ever. Then it works again."""
    postgres.pause()
    try:
        for _ in range(2):
            began = time.monotonic()
            with pytest.raises(LedgerError):
                await ledger.commit([Noted("into the", "void")])
            assert time.monotonic() - began < 15
    finally:
        postgres.resume()
    await ledger.commit([Noted("after", "it")])
    assert "into the" not in (await ledger.recover()).notes


async def test_a_server_that_is_not_there_yet_can_be_waited_for(postgres: Postgres, our_database: str) -> None:
    """To open the ledger is a LedgerError until it is, and the same object can be opened then."""
    postgres.stop()
    ledger = SqlLedger(our_database)
    try:
        with pytest.raises(LedgerError, match="postgresql://127"):
            async with ledger:
                pass
    finally:
        postgres.start()
    async with ledger:
        await ledger.claim()
