"""The ledger in SQL, in a file or on a server: transactions, on a thread of its own.

On the event loop a call does no more than take down what is to be kept. There is one thread, so what is asked first is
done first.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Self, TypeVar

from sqlalchemy import Connection, make_url, select, update
from sqlalchemy.exc import ArgumentError

from mso.ledger import (
    DeposedError,
    Entry,
    LedgerError,
    PastModel,
    Recovered,
    RowPut,
    RunSummary,
    UnusableLedgerError,
    pruning,
    reading,
)
from mso.ledger.database import Database, Engines
from mso.ledger.schema import epoch, outbox
from mso.ledger.sqlite import SqliteFile
from mso.ledger.troubles import DamagedError, at_the_edge
from mso.ledger.writing import write
from mso.model import RunKey
from mso.outbox import Row

T = TypeVar("T")

CALL_SECONDS = 60.0
"""How long a call may take before it is given up. Servers answer sooner or fail; a disk that hangs does neither."""
TOLD_AGAIN_WITHIN = timedelta(hours=2)
"""How long after the end of a run its rows are kept for `told`."""


class SqlLedger:
    """See Ledger. One that failed to open, or was closed, may be opened again."""

    def __init__(self, where: str | Path, *, read_only: bool = False, patience_seconds: float = 10.0) -> None:
        """`where` is the path of a file, or a URL: `postgresql://user:password@host/database`, `sqlite:///path`.

        One that is read only changes nothing: what is not there, not whole or not of this release's form, it refuses.
        `patience_seconds` is how long it waits for a lock or for an answer. Raises UnusableLedgerError.
        """
        self._database = database_at(where, patience_seconds=patience_seconds, read_only=read_only)
        self._read_only = read_only
        self._worker: ThreadPoolExecutor | None = None
        self._opened: Engines | None = None
        self._epoch: int | None = None

    async def __aenter__(self) -> Self:
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="ledger")
        try:
            await self._call(self._open, limited=False)
        except BaseException as error:
            if isinstance(error, asyncio.CancelledError):
                self._worker.submit(self._close)  # it may be opened all the same
            self._worker.shutdown(wait=False)
            self._worker = None
            raise
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        assert self._worker is not None
        closed = self._worker.submit(self._close)
        self._worker.shutdown(wait=False)
        self._worker = None
        try:
            async with asyncio.timeout(CALL_SECONDS):
                await asyncio.shield(asyncio.wrap_future(closed))
        except TimeoutError:
            pass  # a disk that hangs; what was committed is kept, and why we leave matters more

    async def claim(self) -> int:
        return await self._call(self._claim)

    async def commit(self, entries: Sequence[Entry]) -> None:
        # A row changes as it is released; what is kept is how it is now.
        taken = [RowPut(replace(entry.row)) if isinstance(entry, RowPut) else entry for entry in entries]
        await self._call(partial(self._commit, taken))

    async def recover(self) -> Recovered:
        return await self._call(self._recover)

    async def told(self, since: datetime) -> tuple[Row, ...]:
        return await self._call(partial(self._read, partial(reading.told, since=since)))

    async def runs(self, simulation: str = "", limit: int = 1000, *, left: bool = False) -> tuple[RunSummary, ...]:
        wanted = partial(reading.runs_of, simulation=simulation, limit=limit, left=left)
        return await self._call(partial(self._read, wanted))

    async def models(self, run: RunKey) -> tuple[PastModel, ...]:
        return await self._call(partial(self._read, partial(reading.models_of, run=run)))

    async def withheld(self, simulation: str) -> Row | None:
        return await self._call(partial(self._read, partial(reading.withheld, simulation=simulation)))

    async def take_withheld(self, simulation: str) -> Row | None:
        return await self._call(partial(self._take_withheld, simulation))

    async def prune(self, before: datetime) -> int:
        """In bites, each a transaction: a commit does not wait until all of it is done."""
        ended_before = datetime.now(UTC) - TOLD_AGAIN_WITHIN
        while await self._call(partial(self._prune, partial(pruning.prune_rows, ended_before=ended_before))):
            pass
        runs = 0
        while pruned := await self._call(partial(self._prune, partial(pruning.prune_runs, forgotten_before=before))):
            runs += pruned
        return runs

    # -- on the thread --------------------------------------------------------------------------------------------

    async def _call(self, work: Callable[[], T], *, limited: bool = True) -> T:
        """Do it on the thread of the ledger, after all that was asked for before."""
        if self._worker is None:
            raise RuntimeError("a ledger is opened with `async with`")
        future = asyncio.get_running_loop().run_in_executor(self._worker, self._at_the_edge, work)
        try:
            async with asyncio.timeout(CALL_SECONDS if limited else None):
                return await future
        except TimeoutError:
            # What has begun may still be done, before whatever comes next: committed again it is the same.
            raise LedgerError(f"{self._database.name}: nothing for {CALL_SECONDS:g} s") from None

    def _at_the_edge(self, work: Callable[[], T]) -> T:
        try:
            return at_the_edge(self._database.name, work)
        except DamagedError as damage:
            why = str(damage)
        raise UnusableLedgerError(f"{self._database.name} is damaged: {why}: the next start sets it aside")

    def _open(self) -> None:
        # Below that it writes down every row that it reads; and it asks for the level when an engine is made.
        logging.getLogger("sqlalchemy.engine.Engine").setLevel(logging.WARNING)
        self._opened = self._database.open()
        self._epoch = None

    def _close(self) -> None:
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    @property
    def _engines(self) -> Engines:
        if self._opened is None:
            raise RuntimeError("the ledger is closed")
        return self._opened

    def _claim(self) -> int:
        if self._read_only:
            raise RuntimeError("the ledger was opened to be read only")
        raised = update(epoch).values(epoch=epoch.c.epoch + 1).returning(epoch.c.epoch)
        with self._engines.writer.begin() as connection:
            claimed: int = connection.execute(raised).scalar_one()
        self._database.confirm()
        self._epoch = claimed
        return claimed

    @contextmanager
    def _claimed(self) -> Iterator[Connection]:
        """A transaction that nobody can claim the ledger before the end of. Raises DeposedError if somebody has."""
        if self._epoch is None:
            raise RuntimeError("nobody writes to a ledger who has not claimed it")
        with self._engines.writer.begin() as connection:
            if connection.execute(select(epoch.c.epoch).with_for_update()).scalar_one() != self._epoch:
                raise DeposedError(f"{self._database.name} was claimed by another process")
            yield connection
        self._database.confirm()

    def _commit(self, entries: Sequence[Entry]) -> None:
        with self._claimed() as connection:
            write(connection, entries)

    def _take_withheld(self, simulation: str) -> Row | None:
        with self._engines.writer.begin() as connection:
            row = reading.withheld(connection, simulation)
            if row is None:
                return None
            taking = update(outbox).where(outbox.c.number == row.number, outbox.c.withheld).values(withheld=False)
            return row if connection.execute(taking).rowcount else None

    def _prune(self, prune: Callable[[Connection], int]) -> int:
        with self._claimed() as connection:
            return prune(connection)

    def _read(self, read: Callable[[Connection], T]) -> T:
        with self._engines.reader.begin() as connection:
            try:
                return read(connection)
            except (LookupError, ValueError) as error:
                # Not from it: it may quote what it could not read.
                what = type(error).__name__
        raise UnusableLedgerError(
            f"{self._database.name} holds what this release cannot read ({what}): run the one that wrote it, or name "
            "another ledger"
        )

    def _recover(self) -> Recovered:
        try:
            return at_the_edge(self._database.name, partial(self._read, reading.recover))
        except DamagedError as damage:
            why = str(damage)
        claimed = self._epoch is not None
        self._database.set_aside(why)
        self._close()
        self._open()
        if claimed:
            self._claim()
        return self._read(reading.recover)


def database_at(where: str | Path, *, patience_seconds: float, read_only: bool) -> Database:
    """Whichever holds a ledger there. Raises UnusableLedgerError."""
    scheme = str(where).partition("://")[0]
    if isinstance(where, Path) or scheme == where:
        return SqliteFile(Path(where), patience_seconds=patience_seconds, read_only=read_only)
    try:
        url = make_url(where)
    except (ArgumentError, ValueError):
        # It may be the password that cannot be read.
        raise UnusableLedgerError("the URL of the ledger cannot be read") from None
    if scheme == "sqlite" and url.database:
        return SqliteFile(Path(url.database), patience_seconds=patience_seconds, read_only=read_only)
    if scheme in ("postgresql", "postgres", "postgresql+psycopg"):
        from mso.ledger.postgresql import PostgresqlServer  # its driver takes a moment

        url = url.set(drivername="postgresql+psycopg")
        return PostgresqlServer(url, patience_seconds=patience_seconds, read_only=read_only)
    raise UnusableLedgerError(f"a ledger is the path of a file or a postgresql:// URL, not {scheme}://")
