"""A ledger in a file: nobody else can read it; it is looked through when it is opened, and set aside when damaged."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import structlog
from sqlalchemy import URL, Connection, create_engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection

from mso.ledger import LedgerError, UnusableLedgerError
from mso.ledger.database import ENGINE_SETTINGS, Engines
from mso.ledger.troubles import DamagedError, at_the_edge

log = structlog.get_logger()

_BESIDE = ("-wal", "-shm")
"""What SQLite keeps beside the file: transactions that are not in it yet, and an index of them."""


class SqliteFile:
    """See Database."""

    def __init__(self, path: Path, *, patience_seconds: float, read_only: bool) -> None:
        self._path = path.absolute()
        self._patience_seconds = patience_seconds
        self._read_only = read_only
        self._identity: tuple[int, int] | None = None

    @property
    def name(self) -> str:
        return str(self._path)

    def open(self) -> Engines:
        return at_the_edge(self.name, self._open)

    def _open(self) -> Engines:
        if self._read_only:
            if not self._path.exists():
                raise UnusableLedgerError(f"{self._path}: there is no ledger here")
            return self._connect()
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._alone():
            try:
                return self._connect()
            except DamagedError:
                return self._connect()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Of two that find it damaged one sets it aside, and the other must not do that to the new one."""
        descriptor = os.open(self._path.parent, os.O_RDONLY)
        try:
            deadline = time.monotonic() + self._patience_seconds
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise LedgerError(f"{self._path}: another process is opening it") from None
                time.sleep(0.02)
            yield
        finally:
            os.close(descriptor)

    def _connect(self) -> Engines:
        """Raises DamagedError, and has set it aside then."""
        if not self._path.exists():
            # Made here, because SQLite would make it for everybody to read; what it puts beside it has its mode.
            os.close(os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
            self._sync_directory()
        engine = create_engine(
            URL.create("sqlite", database=self.name),
            # Without an isolation level the driver begins nothing by itself: `begin` does, and says which kind.
            connect_args={"isolation_level": None, "timeout": self._patience_seconds},
            **ENGINE_SETTINGS,
        )
        event.listen(engine, "connect", self._set_up)
        event.listen(engine, "begin", _begin)
        engines = Engines(
            reader=engine.execution_options(begin="BEGIN"),
            # One that begins by reading would be refused when it comes to write, if another has written meanwhile.
            writer=engine.execution_options(begin="BEGIN IMMEDIATE"),
        )
        self._identity = self._found()
        with ExitStack() as undo:
            undo.callback(engines.close)
            try:
                at_the_edge(self.name, lambda: self._examine(engines))
            except DamagedError as damage:
                self._rename(str(damage))
                raise
            undo.pop_all()
        return engines

    def _set_up(self, connection: DBAPIConnection, _: object) -> None:
        cursor = connection.cursor()
        if self._read_only:
            cursor.execute("PRAGMA query_only = ON")
        else:
            cursor.execute("PRAGMA journal_mode = WAL")
            cursor.execute("PRAGMA synchronous = FULL")
            cursor.execute("PRAGMA fullfsync = ON")  # macOS: else it is not on the disk when it is said to be
        cursor.close()

    def _examine(self, engines: Engines) -> None:
        """See that it is whole and of this release's form, or bring it there."""
        from mso.ledger.migrating import check, migrate  # takes a moment

        if self._read_only:
            with engines.reader.connect() as connection:
                check(connection, self.name, must_be_current=True)
            return
        with engines.reader.connect() as connection:
            # Indexes included: one that does not fit would fail a commit later, and each one after the next start.
            found = connection.exec_driver_sql("PRAGMA integrity_check(1)").scalar_one()
        if found != "ok":
            raise DamagedError(found.splitlines()[-1])
        with engines.writer.begin() as connection:
            migrate(connection, self.name)

    def confirm(self) -> None:
        """A file that was moved or deleted while it is open takes commits as before, and nobody ever reads them."""
        if self._found() != self._identity:
            raise UnusableLedgerError(f"{self._path} was moved, deleted or replaced while it was in use: start again")

    def _found(self) -> tuple[int, int] | None:
        """Which file has the name now."""
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return None
        return found.st_dev, found.st_ino

    def set_aside(self, why: str) -> None:
        with self._alone():
            self.confirm()
            self._rename(why)

    def _rename(self, why: str) -> None:
        """While it is still open: who closes it deletes what lies beside it."""
        if self._read_only:
            raise UnusableLedgerError(f"{self._path} is damaged: {why}")
        kept = self._path.with_name(f"{self._path.name}.damaged-{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}")
        # The file comes last: what lies beside it would be taken for a part of the new one.
        for suffix in (*_BESIDE, ""):
            beside = self._path.with_name(self._path.name + suffix)
            if beside.exists():
                beside.rename(kept.with_name(kept.name + suffix))
        self._sync_directory()
        log.error(
            "ledger.set_aside",
            path=str(self._path),
            kept=str(kept),
            why=why,
            hint="a new ledger takes its place: what still runs is adopted, history and unsent messages are lost",
        )

    def _sync_directory(self) -> None:
        """Else a loss of power may lose the name of a file whose contents are safe."""
        descriptor = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql(connection.get_execution_options()["begin"])
