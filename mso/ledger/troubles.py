"""Errors of databases, turned into ours at one place; nothing of what they were about stays in them.

A database quotes the row that it refuses, and a row holds passwords. So the error that it raised is not chained to
ours, and of what it says only what is known to quote nothing is repeated.
"""

import sqlite3
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, SQLAlchemyError, StatementError

from mso.ledger import LedgerError, UnusableLedgerError

T = TypeVar("T")


class DamagedError(Exception):
    """The file is not a ledger any more: what was written into it does not come back."""


class StatementRefusedError(RuntimeError):
    """A statement of ours is wrong, or what it was given: a bug."""


_DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_MAY_PASS = {
    *(sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL),
    *(sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH),
    *(sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_INTERRUPT, sqlite3.SQLITE_NOLFS),
}
_STATES_THAT_MAY_PASS = ("08", "25", "28", "3D", "40", "53", "55", "57", "58")
"""Classes of SQLSTATE: connection, transaction, access, conflict, room, state, operator, system.

https://www.postgresql.org/docs/current/errcodes-appendix.html
"""


def at_the_edge(where: str, work: Callable[[], T]) -> T:
    """What `work` returns. What it raises is ours: see `explain`."""
    try:
        return work()
    except (SQLAlchemyError, sqlite3.Error, OSError) as error:
        ours = explain(where, error)
    # Not within the except: there the error would come along as the context.
    raise ours


def explain(where: str, error: Exception) -> Exception:
    """LedgerError where time may help, UnusableLedgerError where a person must, DamagedError, or that it is a bug."""
    origin = error.orig if isinstance(error, StatementError) else error
    if isinstance(origin, sqlite3.Error):
        return _of_sqlite(where, origin) or _bug(where, error)
    if isinstance(origin, OSError):
        return LedgerError(f"{where}: {origin.strerror or type(origin).__name__}")
    if isinstance(error, DBAPIError):
        return _of_postgresql(where, error) or _bug(where, error)
    return _bug(where, error)


def _of_sqlite(where: str, error: sqlite3.Error) -> Exception | None:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the rest says more of the same
    if code in _DAMAGE:
        return DamagedError(str(error))
    if code in _MAY_PASS:
        return LedgerError(f"{where}: {error}")
    if code == sqlite3.SQLITE_ERROR:
        # Our statements are right for our form: this is another one.
        return UnusableLedgerError(f"{where}: {error}: somebody has changed its tables; name another ledger")
    if "decode to UTF-8" in str(error):
        return DamagedError("a text in it is not UTF-8")
    return None


def _of_postgresql(where: str, error: DBAPIError) -> Exception | None:
    state = getattr(error.orig, "sqlstate", None) or ""
    diagnosis = getattr(error.orig, "diag", None)
    said = (getattr(diagnosis, "message_primary", None) or str(error.orig)).partition("\n")[0]
    if state[:2] in _STATES_THAT_MAY_PASS or (not state and isinstance(error, OperationalError | InterfaceError)):
        return LedgerError(f"{where}: {said}")
    if state[:2] in ("3F", "42"):
        return UnusableLedgerError(
            f"{where}: {said}: the user of MSO must own the database, and nobody else may change its tables"
        )
    if state[:2] == "XX":
        return UnusableLedgerError(f"{where}: the server says that its data is damaged ({state}): restore a backup")
    return None


def _bug(where: str, error: Exception) -> StatementRefusedError:
    origin = error.orig if isinstance(error, StatementError) else error
    what = getattr(origin, "sqlstate", None) or getattr(origin, "sqlite_errorname", None) or ""
    statement = (error.statement or "") if isinstance(error, StatementError) else ""
    return StatementRefusedError(f"{where}: {type(origin).__name__} {what}: {' '.join(statement.split())}")
