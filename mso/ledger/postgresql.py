"""A ledger on a PostgreSQL server, which may be slow, away or silent: an error within seconds then, never a hang."""

import select
from typing import Any, TypeVar

import psycopg
from psycopg.abc import PQGen
from psycopg.waiting import Ready, Wait
from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection

from mso.ledger import UnusableLedgerError
from mso.ledger.database import ENGINE_SETTINGS, Engines
from mso.ledger.troubles import at_the_edge

T = TypeVar("T")

MIGRATION_SECONDS = 600.0
_MIGRATION_LOCK = 0x4D534F  # an advisory lock is a number that programs agree upon; this is "MSO"

_UNLESS_THE_URL_SAYS = {
    "application_name": "mso",
    "client_encoding": "utf8",
    "connect_timeout": 5,
    # A peer that is gone without a word is noticed by the kernel.
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
}


class PatientConnection(psycopg.Connection[Any]):
    """Gives up a server that says nothing for so long: no time limit of the server's own ends that."""

    patience_seconds = 10.0

    def wait(self, gen: PQGen[T], interval: float = 0.1, timeout: float | None = None) -> T:
        """Go through what the driver does with the server, a step whenever the server is ready for one."""
        if timeout is not None:  # some other wait, of newer releases of the driver
            return super().wait(gen, interval, timeout)
        try:
            wanted = next(gen)
            while True:
                wanted = gen.send(self._ready_for(wanted))
        except StopIteration as end:
            result: T = end.value
            return result

    def _ready_for(self, wanted: Wait) -> Ready:
        server = select.poll()
        server.register(
            self.pgconn.socket, select.POLLIN * bool(wanted & Wait.R) | select.POLLOUT * bool(wanted & Wait.W)
        )
        found = server.poll(self.patience_seconds * 1000)
        if not found:
            self.pgconn.finish()  # whatever it was about to answer is not waited for
            raise psycopg.OperationalError(f"the server said nothing for {self.patience_seconds:g} s")
        ((_, happened),) = found
        if happened & ~(select.POLLIN | select.POLLOUT):
            return Ready(wanted)  # it is gone: whatever is tried next finds that out
        return Ready(Ready.R * bool(happened & select.POLLIN) | Ready.W * bool(happened & select.POLLOUT))


class PostgresqlServer:
    """See Database."""

    def __init__(self, url: URL, *, patience_seconds: float, read_only: bool) -> None:
        self._url = url
        self._patience_seconds = patience_seconds
        self._read_only = read_only

    @property
    def name(self) -> str:
        # Not the URL: a password may stand among its parameters.
        return f"postgresql://{self._url.host or 'localhost'}:{self._url.port or 5432}/{self._url.database or ''}"

    def engine(self) -> Engine:
        """Connects when it is used; its transactions are limited in time."""
        engine = create_engine(
            self._url,
            pool_pre_ping=True,
            connect_args={name: value for name, value in _UNLESS_THE_URL_SAYS.items() if name not in self._url.query},
            **ENGINE_SETTINGS,
        )
        event.listen(engine, "do_connect", self._connect)
        event.listen(engine, "connect", self._set_up)
        event.listen(engine, "begin", _begin)
        return engine

    def open(self) -> Engines:
        engine = self.engine()
        engines = Engines(
            reader=engine.execution_options(isolation_level="REPEATABLE READ", takes_its_time=True),
            # Whoever waits for the epoch has to see what it is when the wait is over.
            writer=engine.execution_options(isolation_level="READ COMMITTED"),
        )
        try:
            at_the_edge(self.name, lambda: self._examine(engines))
        except BaseException:
            engines.close()
            raise
        return engines

    def _connect(self, _: object, __: object, arguments: list[Any], parameters: dict[str, Any]) -> PatientConnection:
        connection = PatientConnection.connect(*arguments, **parameters)
        connection.patience_seconds = self._patience_seconds
        return connection

    def _set_up(self, connection: DBAPIConnection, _: object) -> None:
        limit = round(self._patience_seconds * 1000)
        cursor = connection.cursor()
        cursor.execute(
            # The server gives up before we give it up: then it can say why.
            f"SET statement_timeout = {limit * 4 // 5};"
            f"SET lock_timeout = {limit // 2};"
            # One that was stopped in the middle of a commit must not keep its successor from claiming for ever.
            f"SET idle_in_transaction_session_timeout = {limit * 3};"
            f"SET default_transaction_read_only = {self._read_only};"
            "SET timezone = 'UTC';"
            "SET datestyle = 'ISO';"
            "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"
        )
        cursor.close()
        connection.commit()

    def _examine(self, engines: Engines) -> None:
        """See that it can hold any text and is of this release's form, or bring it there."""
        from mso.ledger.migrating import check, migrate  # takes a moment

        with engines.writer.begin() as connection:
            encoding = connection.exec_driver_sql("SHOW server_encoding").scalar_one()
            if encoding != "UTF8":
                raise UnusableLedgerError(f"{self.name} has the encoding {encoding}: create it with ENCODING 'UTF8'")
            if self._read_only:
                check(connection, self.name, must_be_current=True)
                return
            # The limits of everyday are not made for a migration; those of the session come back with its end.
            connection.exec_driver_sql(f"SET LOCAL statement_timeout = {round(MIGRATION_SECONDS * 1000)}")
            driven = connection.connection.driver_connection
            assert isinstance(driven, PatientConnection)
            driven.patience_seconds = MIGRATION_SECONDS
            # Of two that open an empty database at once, one makes its tables; the other waits here until it has.
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})")
            migrate(connection, self.name)
            driven.patience_seconds = self._patience_seconds

    def confirm(self) -> None:
        """What the server says is committed, is."""

    def set_aside(self, why: str) -> None:
        raise UnusableLedgerError(f"{self.name} is damaged: {why}: restore a backup")


def _begin(connection: Connection) -> None:
    """Whoever makes models of what it reads is silent for a while, and holds nobody up."""
    if connection.get_execution_options().get("takes_its_time"):
        connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 0")
