"""A ledger on a PostgreSQL server that is set up in another way than we would."""

import time

import psycopg
import pytest

from mso import recollection
from mso.ledger import ModelAsked, ModelStands, RunKept, UnusableLedgerError
from mso.ledger.sql import SqlLedger
from mso.model import Model, Ready
from tests.ledger.conftest import ON_POSTGRESQL
from tests.ledger.things import NOW, a_model, a_record, execute
from tests.postgres import INSTALL_HINT, PASSWORD, USER, Databases, find_programs

pytestmark = ON_POSTGRESQL


@pytest.mark.parametrize("scheme", ("postgresql", "postgres", "postgresql+psycopg"))
async def test_the_url_of_a_server_is_known_in_every_spelling(database: str, scheme: str) -> None:
    """What is right for libpq, and what is right for SQLAlchemy."""
    async with SqlLedger(database.replace("postgresql", scheme, 1)) as ledger:
        await ledger.claim()


async def test_what_the_url_says_of_the_connection_counts(database: str) -> None:
    """Our limits are for whoever says nothing."""
    async with SqlLedger(f"{database}?application_name=theirs&connect_timeout=9"):
        with psycopg.connect(database) as connection:
            names = connection.execute(
                "SELECT application_name FROM pg_stat_activity WHERE datname = current_database()"
            ).fetchall()
    assert ("theirs",) in names


async def test_a_database_that_cannot_hold_every_text_is_refused(databases: Databases) -> None:
    """Rather than failing at the first id with an accent in it."""
    url = databases.create(encoding="LATIN1")
    with pytest.raises(UnusableLedgerError, match="LATIN1: create it with ENCODING 'UTF8'"):
        async with SqlLedger(url):
            pass
    databases.drop(url)


@pytest.mark.skipif(find_programs() is None, reason=INSTALL_HINT)
async def test_a_user_who_may_not_make_tables_is_told_so(our_database: str) -> None:
    """Since PostgreSQL 15 only the owner of a database may: the usual stumble when one is set up by hand."""
    execute(our_database, f"CREATE ROLE stranger LOGIN PASSWORD '{PASSWORD}'")
    url = our_database.replace(f"{USER}:{PASSWORD}", f"stranger:{PASSWORD}")
    with pytest.raises(UnusableLedgerError, match=r"permission denied.*must own the database"):
        async with SqlLedger(url):
            pass
    execute(our_database, "DROP ROLE stranger")


async def test_settings_of_the_server_do_not_weaken_a_commit(database: str) -> None:
    """A commit is durable when it returns, and sees the epoch as it is, whatever the database says."""
    name = database.rpartition("/")[2]
    unwanted = {
        "synchronous_commit": "off",
        "default_transaction_isolation": "serializable",
        "timezone": "Pacific/Chatham",
        "bytea_output": "escape",
        "datestyle": "German",
    }
    for setting, value in unwanted.items():
        execute(database, f"ALTER DATABASE {name} SET {setting} = '{value}'")
    try:
        async with SqlLedger(database) as ledger:
            await ledger.claim()
            await ledger.commit([RunKept(a_record(ended_at=NOW)), ModelAsked(a_model(finished_at=NOW))])
            (run,) = (await ledger.recover()).runs
            with ledger._engines.writer.connect() as connection:  # no other way to see what it was told
                durable = connection.exec_driver_sql("SHOW synchronous_commit").scalar_one()
    finally:
        for setting in unwanted:
            execute(database, f"ALTER DATABASE {name} RESET {setting}")
    assert (run.record.ended_at, run.models[0].model.finished_at) == (NOW, NOW)
    assert durable == "on"


async def test_a_large_commit_is_not_taken_for_a_slow_one(database: str) -> None:
    """How long the server may think is for each statement, not for the thousands of a batch."""
    models = [a_model(f"m-{number}") for number in range(5000)]
    async with SqlLedger(database) as ledger:
        await ledger.claim()
        with ledger._engines.writer.begin() as connection:  # its one connection
            connection.exec_driver_sql("SET statement_timeout = '300ms'")
        await ledger.commit([RunKept(a_record()), *map(ModelAsked, models)])
        await ledger.commit([ModelStands(model.after(Ready(), NOW)) for model in models])
        assert len((await ledger.recover()).runs[0].models) == len(models)


async def test_whoever_reads_may_take_its_time(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server does not end a transaction for what is done between reading and reading."""
    decode = recollection.decode

    def slowly(text: str) -> Model:
        time.sleep(0.5)
        return decode(text)

    async with SqlLedger(database, patience_seconds=0.1) as ledger:
        await ledger.claim()
        await ledger.commit([RunKept(a_record()), ModelAsked(a_model())])
        monkeypatch.setattr(recollection, "decode", slowly)
        assert len((await ledger.recover()).runs) == 1


async def test_whoever_stops_in_the_middle_of_a_commit_does_not_keep_the_next_from_claiming(database: str) -> None:
    """The server ends a transaction of which it hears nothing more, and with it the hold on the epoch."""
    async with SqlLedger(database, patience_seconds=1) as first, SqlLedger(database) as second:
        await first.claim()
        stuck = first._engines.writer.connect()  # as a process that was stopped leaves it
        stuck.exec_driver_sql("SELECT * FROM epoch FOR UPDATE")
        began = time.monotonic()
        await second.claim()
        assert time.monotonic() - began < 10
        stuck.invalidate()
        stuck.close()
