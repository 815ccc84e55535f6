"""What can be seen of a ledger without being its writer: whether it is whole, of this release, and takes a transaction.

The transaction that is tried makes a table and is rolled back. It needs what every commit needs, the lock and the right
to write, holds them for an instant, and neither claims the ledger nor touches a row of it. That a disk has room it
cannot show; a file beside it does.
"""

import asyncio
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import select

from mso import disk
from mso.checkup import CALL_SECONDS, Checks, Finding, ok, skipped, timed, warning, wrong
from mso.ledger import LedgerError, OutdatedLedgerError, UnusableLedgerError
from mso.ledger.schema import notes
from mso.ledger.sql import database_at
from mso.ledger.troubles import DamagedError, StatementRefusedError, at_the_edge

LEDGER = "ledger"
WRITABLE = "ledger writable"
WHOLE = "ledger whole"
DISK = "state directory"
PATIENCE_SECONDS = 3.0
"""For a lock, or for an answer. A service holds the lock for as long as a commit takes."""
LOOK_THROUGH_SECONDS = 3.0
LITTLE_BYTES = 1 << 30
TOO_LITTLE_BYTES = 1 << 26
_NOTE = "release"
_TROUBLES = (LedgerError, UnusableLedgerError, DamagedError, StatementRefusedError)
_TRIAL = "CREATE TABLE mso_doctor (x INTEGER)"


async def check(where: str | Path, state_dir: Path) -> Checks:
    """`where` as SqlLedger takes it: the path of a file, or the URL of a server."""
    if isinstance(where, Path):
        where = await asyncio.to_thread(where.absolute)
    is_there = not isinstance(where, Path) or await asyncio.to_thread(where.exists)
    looks = [timed(DISK, asyncio.to_thread(_directory, state_dir), advice="look at the disk of MSO_STATE_DIR")]
    advice = "see who holds it, and look at its disk; or at the server of MSO_DATABASE_URL"
    looks.append(timed(LEDGER, asyncio.to_thread(_form, where), CALL_SECONDS + 1, advice))
    if is_there:
        looks.append(timed(WRITABLE, asyncio.to_thread(_writable, where), CALL_SECONDS + 1, advice))
        if isinstance(where, Path):
            looks.append(timed(WHOLE, asyncio.to_thread(_whole, where), advice=advice))
    for finding in await asyncio.gather(*looks):
        yield finding


def _directory(state_dir: Path) -> Finding:
    """Whether it can be written to, or made, and how much room is left."""
    there = disk.nearest(state_dir.absolute())
    try:
        disk.try_to_write(there)
        room = disk.room(there)
    except OSError as error:
        return wrong(
            DISK,
            f"{there} cannot be written to: {error.strerror}",
            "give MSO's user the right to, make room, or set MSO_STATE_DIR to another directory",
        )
    left = f"{room.free / (1 << 30):.1f} GiB left"
    if room.free < TOO_LITTLE_BYTES or room.files == 0:
        return wrong(DISK, f"{there}: {left}", "make room: a full disk stops MSO from acknowledging anything")
    if room.free < LITTLE_BYTES:
        return warning(DISK, f"{there}: {left}", "make room before it is full")
    return ok(DISK, f"{state_dir.absolute()}: {left}")


def _form(where: str | Path) -> Finding:
    if isinstance(where, Path) and not where.exists():
        return ok(LEDGER, f"there is none yet: the first start makes {where}")
    try:
        database = database_at(where, patience_seconds=PATIENCE_SECONDS, read_only=True)
        engines = database.open()
        try:
            with engines.reader.begin() as connection:
                release = at_the_edge(
                    database.name,
                    lambda: connection.execute(select(notes.c.value).where(notes.c.name == _NOTE)).scalar(),
                )
        finally:
            engines.close()
    except OutdatedLedgerError as error:
        return ok(LEDGER, f"{error}"[:300])
    except UnusableLedgerError as error:
        return wrong(
            LEDGER, str(error), "a file that is damaged is set aside by the next start; restore a backup to keep it"
        )
    except _TROUBLES as error:
        return wrong(LEDGER, str(error), _advice(where))
    return ok(LEDGER, f"{database.name}: last used by release {release or 'unknown'}")


def _writable(where: str | Path) -> Finding:
    try:
        if isinstance(where, Path):
            at_the_edge(str(where), lambda: _try_file(where))
        else:
            at_the_edge("the server", lambda: _try_server(where))
    except _TROUBLES as error:
        return wrong(WRITABLE, str(error), _advice(where))
    return ok(WRITABLE, "a transaction was made and taken back")


def _try_file(path: Path) -> None:
    with closing(_open(path)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(_TRIAL)
        connection.execute("ROLLBACK")


def _try_server(url: str) -> None:
    from sqlalchemy import make_url

    from mso.ledger.postgresql import PostgresqlServer

    server = PostgresqlServer(
        make_url(url).set(drivername="postgresql+psycopg"), patience_seconds=PATIENCE_SECONDS, read_only=False
    )
    engine = server.engine()
    try:
        with engine.connect() as connection:
            connection.exec_driver_sql(_TRIAL)
            connection.rollback()
    finally:
        engine.dispose()


def _whole(path: Path) -> Finding:
    deadline = time.monotonic() + LOOK_THROUGH_SECONDS
    try:
        with closing(_open(path)) as connection:
            connection.execute("PRAGMA query_only = ON")
            connection.set_progress_handler(lambda: time.monotonic() > deadline, 10_000)
            ((found,),) = connection.execute("PRAGMA quick_check(1)").fetchall()
    except sqlite3.DatabaseError as error:
        if time.monotonic() > deadline:
            return skipped(WHOLE, f"it is too large to be looked through in {LOOK_THROUGH_SECONDS:g} s")
        found = str(error)
    if found == "ok":
        return ok(WHOLE, "nothing in it is damaged")
    last = str(found).splitlines()[-1]
    return wrong(
        WHOLE,
        f"it is damaged: {last}",
        "save a copy: the next start sets it aside and begins a new one; or restore a backup",
    )


def _open(path: Path) -> sqlite3.Connection:
    """Never makes one. Not read only: such a connection leaves files beside it, of whoever it was."""
    where = f"file:{quote(str(path.absolute()))}?mode=rw"
    return sqlite3.connect(where, uri=True, isolation_level=None, timeout=PATIENCE_SECONDS)


def _advice(where: str | Path) -> str:
    if isinstance(where, Path):
        return (
            "let MSO's user read and write the file and its directory; make room on its disk; see who else has it open"
        )
    return "see that the server runs, and check the user, the password and the database in MSO_DATABASE_URL"
