"""A password in a model's environment is in the ledger, and nowhere else: in no log and in no error."""

import logging
import traceback
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from mso.ledger import (
    DeposedError,
    Entry,
    LedgerError,
    LinesKept,
    ModelAsked,
    Noted,
    RowPut,
    RunKept,
    UnusableLedgerError,
)
from mso.ledger.sql import SqlLedger
from mso.ledger.troubles import StatementRefusedError
from tests.ledger.things import RUN, a_model, a_record, a_row, execute, locked
from tests.postgres import INSTALL_HINT, PASSWORD, find_programs

CANARY = "canary-5f2a"

SECRETS: list[Entry] = [
    RunKept(a_record()),
    ModelAsked(a_model(secret=CANARY)),
    LinesKept(a_model().key, (CANARY,)),
    RowPut(a_row(1, payload=CANARY.encode())),
    Noted("note", CANARY),
]


class Ears:
    """All that was said aloud: logged at any level, or shown of an error with all that led to it."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self._caplog = caplog
        self.heard: list[str] = []

    def hear(self, error: BaseException) -> None:
        self.heard += traceback.format_exception(error)
        self.heard.append(repr(error))
        # Also what a traceback does not show, for somebody else might.
        assert error.__cause__ is None
        assert error.__context__ is None

    def all(self) -> str:
        return "\n".join([*self.heard, *(record.getMessage() for record in self._caplog.records), self._caplog.text])


@pytest.fixture
def ears(caplog: pytest.LogCaptureFixture) -> Ears:
    caplog.set_level(logging.DEBUG)
    for name in (
        "sqlalchemy",
        "sqlalchemy.engine",
        "sqlalchemy.engine.Engine",
        "sqlalchemy.pool",
        "alembic",
        "psycopg",
    ):
        caplog.set_level(logging.DEBUG, name)
    return Ears(caplog)


async def test_what_goes_well_is_not_spoken_of(place: str, ears: Ears) -> None:
    """A whole life of a secret, with every library asked to say all that it can."""
    with capture_logs() as log:
        async with SqlLedger(place) as ledger:
            await ledger.claim()
            await ledger.commit(SECRETS)
            await ledger.recover()
            await ledger.models(RUN)
    assert CANARY not in ears.all() + repr(log)


async def test_an_error_that_passes_says_nothing_of_what_was_to_be_kept(place: str, ears: Ears) -> None:
    """It names the ledger and the trouble."""
    async with SqlLedger(place, patience_seconds=0.3) as ledger:
        await ledger.claim()
        with locked(place), pytest.raises(LedgerError) as failed:
            await ledger.commit(SECRETS)
    ears.hear(failed.value)
    assert CANARY not in ears.all()


async def test_a_statement_that_is_refused_says_nothing_of_what_was_refused(place: str, ears: Ears) -> None:
    """Although the database quotes it."""
    async with SqlLedger(place) as ledger:
        await ledger.claim()
        if "://" in place:
            execute(
                place,
                "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "
                "$$ BEGIN RAISE EXCEPTION 'no: %', NEW.recollection; END $$",
            )
            execute(place, "CREATE TRIGGER refuse BEFORE INSERT ON models FOR EACH ROW EXECUTE FUNCTION refuse()")
        else:
            execute(
                place,
                "CREATE TRIGGER refuse BEFORE INSERT ON models WHEN NEW.recollection LIKE '%canary%' "
                "BEGIN SELECT RAISE(ABORT, 'no: canary-5f2a'); END",
            )
        with pytest.raises(StatementRefusedError, match="INSERT INTO models") as failed:
            await ledger.commit(SECRETS)
    ears.hear(failed.value)
    assert CANARY not in ears.all()


async def test_a_column_that_somebody_added_says_nothing_of_the_row(place: str, ears: Ears) -> None:
    """PostgreSQL shows the whole row that a column forbids."""
    async with SqlLedger(place) as ledger:
        await ledger.claim()
        execute(place, "ALTER TABLE models ADD COLUMN extra INTEGER CHECK (extra IS NOT NULL)")
        with pytest.raises(StatementRefusedError) as failed:
            await ledger.commit(SECRETS)
    ears.hear(failed.value)
    assert CANARY not in ears.all()


async def test_a_table_that_is_gone_says_nothing_of_what_was_to_be_in_it(place: str, ears: Ears) -> None:
    """It is an UnusableLedgerError: no time mends it."""
    async with SqlLedger(place) as ledger:
        await ledger.claim()
        execute(place, "DROP TABLE models")
        with pytest.raises(UnusableLedgerError, match="models") as failed:
            await ledger.commit(SECRETS)
    ears.hear(failed.value)
    assert "\n" not in str(failed.value)
    assert CANARY not in ears.all()


async def test_whoever_is_deposed_says_nothing_of_what_was_to_be_kept(place: str, ears: Ears) -> None:
    """Only that it was."""
    async with SqlLedger(place) as first, SqlLedger(place) as second:
        await first.claim()
        await second.claim()
        with pytest.raises(DeposedError) as failed:
            await first.commit(SECRETS)
    ears.hear(failed.value)
    assert CANARY not in ears.all()


async def test_what_cannot_be_read_is_not_quoted(place: str, ears: Ears) -> None:
    """Although what cannot be read is the secret."""
    async with SqlLedger(place) as ledger:
        await ledger.claim()
        await ledger.commit(SECRETS)
        execute(place, "UPDATE models SET recollection = 'canary-5f2a', state = 'canary-5f2a'")
        with pytest.raises(UnusableLedgerError) as failed:
            await ledger.recover()
    ears.hear(failed.value)
    assert CANARY not in ears.all()


async def test_a_damaged_file_is_not_quoted(tmp_path: Path, ears: Ears) -> None:
    """What is wrong with it is said in terms of pages."""
    path = tmp_path / "ledger.db"
    async with SqlLedger(path) as ledger:
        await ledger.claim()
        await ledger.commit([*SECRETS, *(ModelAsked(a_model(f"m-{n}", secret=CANARY)) for n in range(400))])
    data = bytearray(path.read_bytes())
    data[5 * 4096 : 25 * 4096] = CANARY.encode() * (20 * 4096 // len(CANARY) + 1)
    path.write_bytes(data)
    with capture_logs() as log:
        async with SqlLedger(path):
            pass
    assert [event["event"] for event in log] == ["ledger.set_aside"]
    assert CANARY not in ears.all() + repr(log)


@pytest.mark.process
@pytest.mark.skipif(find_programs() is None, reason=INSTALL_HINT)
async def test_the_password_of_a_database_is_not_shown(our_database: str, ears: Ears) -> None:
    """Neither when it is wrong, nor when it stands among the parameters of the URL."""
    wrong = our_database.replace(PASSWORD, CANARY)
    beside = f"{our_database.replace(f':{PASSWORD}', '')}?password={CANARY}"
    for url in (wrong, beside):
        with pytest.raises(LedgerError, match="password authentication failed") as failed:
            async with SqlLedger(url):
                pass
        ears.hear(failed.value)
    assert CANARY not in ears.all()
