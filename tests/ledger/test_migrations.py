"""How the form of a ledger comes to be, and which forms are refused."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import create_engine

from mso.ledger import Noted, UnusableLedgerError
from mso.ledger.migrating import migrate, scripts
from mso.ledger.schema import REVISION_TABLE, metadata
from mso.ledger.sql import SqlLedger
from tests.ledger.things import engine_url, execute

REVISIONS = [script.revision for script in reversed([*scripts().walk_revisions()])]


def differences(place: str) -> Any:
    """Between the form that a ledger has, and the one that this release reads and writes."""
    engine = create_engine(engine_url(place))
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": REVISION_TABLE, "compare_type": True})
        found = compare_metadata(context, metadata)
    engine.dispose()
    return found


async def test_an_empty_database_gets_the_form_of_this_release(place: str) -> None:
    """What the scripts make, and what the code reads and writes, is the same: tables, columns, types, indexes, keys."""
    async with SqlLedger(place):
        pass
    assert differences(place) == []


@pytest.mark.parametrize("revision", REVISIONS)
async def test_a_ledger_of_any_earlier_form_is_brought_up_to_date(place: str, revision: str) -> None:
    """From each form that there ever was to this one; and from the first to each, step by step."""
    engine = create_engine(engine_url(place))
    for step in REVISIONS[: REVISIONS.index(revision) + 1]:
        with engine.begin() as connection:
            migrate(connection, place, to=step)
    engine.dispose()
    async with SqlLedger(place) as ledger:
        await ledger.claim()
        await ledger.commit([Noted("it", "works")])
    assert differences(place) == []


async def test_a_ledger_of_this_form_is_opened_as_it_is(place: str) -> None:
    """To open it again changes nothing in it."""
    async with SqlLedger(place) as ledger:
        await ledger.claim()
        await ledger.commit([Noted("a", "b")])
    async with SqlLedger(place) as ledger:
        assert (await ledger.recover()).notes == {"a": "b"}


async def test_a_ledger_of_a_newer_release_is_refused(place: str) -> None:
    """In one line that says so and what to do; nothing of it is changed, nothing is set aside."""
    async with SqlLedger(place) as ledger:
        await ledger.claim()
        await ledger.commit([Noted("a", "b")])
    execute(place, "ALTER TABLE mso_revision RENAME TO ours")
    execute(place, "CREATE TABLE mso_revision AS SELECT '9999' AS version_num")
    for read_only in (False, True):
        with pytest.raises(UnusableLedgerError, match=r"newer release .* 9999.*run that release") as refused:
            async with SqlLedger(place, read_only=read_only):
                pass
        assert "\n" not in str(refused.value)
    execute(place, "DROP TABLE mso_revision")
    execute(place, "ALTER TABLE ours RENAME TO mso_revision")
    async with SqlLedger(place) as ledger:
        assert (await ledger.recover()).notes == {"a": "b"}


async def test_a_reader_brings_nothing_up_to_date(place: str) -> None:
    """A ledger of an older form is the service's to migrate: somebody may be working with it."""
    async with SqlLedger(place):
        pass
    execute(place, "DELETE FROM mso_revision")
    for table in metadata.tables:
        execute(place, f"DROP TABLE {table}")
    with pytest.raises(UnusableLedgerError, match="older release"):
        async with SqlLedger(place, read_only=True):
            pass


async def test_what_belongs_to_somebody_else_is_refused(place: str) -> None:
    """A database in which one of our names is taken is no ledger, and is left alone."""
    if "://" not in place:
        sqlite3.connect(place).close()
    execute(place, "CREATE TABLE models (id INTEGER)")
    with pytest.raises(UnusableLedgerError, match=r"somebody else .models.: give MSO a database of its own"):
        async with SqlLedger(place):
            pass
    execute(place, "INSERT INTO models VALUES (1)")


async def test_what_another_program_keeps_beside_it_is_no_matter(place: str) -> None:
    """A table of another name, and that of its migrations, stand where they stood."""
    execute(place, "CREATE TABLE alembic_version (version_num VARCHAR(32))")
    execute(place, "INSERT INTO alembic_version VALUES ('theirs')")
    async with SqlLedger(place) as ledger:
        await ledger.claim()
    execute(place, "INSERT INTO alembic_version VALUES ('still theirs')")


async def test_two_that_open_an_empty_database_at_once_both_work(place: str) -> None:
    """One makes the tables, the other finds them made."""
    ledgers = [SqlLedger(place) for _ in range(4)]
    await asyncio.gather(*(ledger.__aenter__() for ledger in ledgers))
    epochs = await asyncio.gather(*(ledger.claim() for ledger in ledgers))
    assert len(set(epochs)) == len(ledgers)
    await asyncio.gather(*(ledger.__aexit__() for ledger in ledgers))


async def test_a_ledger_that_is_made_anew_does_not_know_the_claims_of_the_old(tmp_path: Path) -> None:
    """Whoever claimed the one before must not be taken for the one who claimed this."""
    async with SqlLedger(tmp_path / "ledger.db") as ledger:
        first = await ledger.claim()
    assert first > 1_000_000_000


def test_the_scripts_follow_one_another() -> None:
    """There is one first and one last, and none beside them."""
    assert len(REVISIONS) == len(set(REVISIONS))
    assert scripts().get_heads() == [REVISIONS[-1]]
    assert scripts().get_bases() == [REVISIONS[0]]


def test_what_a_file_holds_is_found_with_other_programs(tmp_path: Path) -> None:
    """The history is plain SQL: whoever may read the file can ask it with sqlite3."""

    async def keep() -> None:
        async with SqlLedger(tmp_path / "ledger.db") as ledger:
            await ledger.claim()
            await ledger.commit([Noted("a", "b")])

    asyncio.run(keep())
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as file:
        assert file.execute("SELECT name, value FROM notes").fetchall() == [("a", "b")]
