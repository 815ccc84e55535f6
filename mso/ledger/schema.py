"""The form of the ledger: its tables as this release reads and writes them.

How a ledger of an earlier form becomes one of this is said in migrations/; a test compares the two. Nothing here refers
to anything by a foreign key: a ledger keeps what it is told, and decides nothing.
"""

import json
import re
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Dialect,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
)
from sqlalchemy.types import TypeEngine

REVISION_TABLE = "mso_revision"
"""Where the form of a ledger is written down; with a name of ours, for other programs have such a table too."""

_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
"""PostgreSQL keeps no NUL, and utf-8 has no lone surrogates."""


class Instant(TypeDecorator[datetime]):
    """A moment: aware, in UTC, to the microsecond, on every database."""

    impl: TypeEngine[Any] | type[TypeEngine[Any]] = DateTime(timezone=True)
    cache_ok: bool | None = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a moment without a time zone")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)


class Prose(TypeDecorator[str]):
    """Text for people. What cannot be stored becomes U+FFFD."""

    impl: TypeEngine[Any] | type[TypeEngine[Any]] = Text
    cache_ok: bool | None = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return None if value is None else _storable(value)


class Exact(TypeDecorator[str]):
    """Text that comes back as it was, whatever is in it: what cannot be stored as it is, is stored as JSON."""

    impl: TypeEngine[Any] | type[TypeEngine[Any]] = Text
    cache_ok: bool | None = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        if value and (value[0] == '"' or _UNSTORABLE.search(value)):
            return json.dumps(value)
        return value

    def process_result_value(self, value: str | None, dialect: Dialect) -> str | None:
        if value and value[0] == '"':
            exact: str = json.loads(value)
            return exact
        return value


class Lines(TypeDecorator[tuple[str, ...]]):
    """Lines for people, as a JSON array."""

    impl: TypeEngine[Any] | type[TypeEngine[Any]] = Text
    cache_ok: bool | None = True

    def process_bind_param(self, value: tuple[str, ...] | None, dialect: Dialect) -> str:
        return json.dumps([_storable(line) for line in value or ()], ensure_ascii=False)

    def process_result_value(self, value: str | None, dialect: Dialect) -> tuple[str, ...]:
        return tuple(json.loads(value)) if value else ()


def _storable(value: str) -> str:
    return value if value.isascii() and "\0" not in value else _UNSTORABLE.sub("\ufffd", value)


Counted = BigInteger().with_variant(Integer, "sqlite")
"""The number of a row: SQLite gives one, and keeps rows by it, only if it is called INTEGER."""

metadata = MetaData()

epoch = Table(
    "epoch",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),  # there is one row, and its id is 1
    Column("epoch", BigInteger, nullable=False),
    Column("last_row", BigInteger, nullable=False),
)

runs = Table(
    "runs",
    metadata,
    Column("opened", Counted, primary_key=True),  # in the order in which they were opened
    Column("simulation", Exact, nullable=False),
    Column("run", BigInteger, nullable=False),
    Column("simulator", Exact, nullable=False),
    Column("simulator_id", Exact, nullable=False),
    Column("protocol_version", BigInteger, nullable=False),
    Column("keep_logs", BigInteger, nullable=False),  # microseconds
    Column("failure_policy", Text, nullable=False),
    Column("more_to_come", Boolean, nullable=False),
    Column("request_id", Exact, nullable=False),
    Column("digest", Exact, nullable=False),
    Column("announced", Boolean, nullable=False),
    Column("stopping", Boolean, nullable=False),
    Column("removing_since", Instant),
    Column("ended_at", Instant),
    Column("reported_at", Instant),
    Column("forgotten_at", Instant),
    UniqueConstraint("simulation", "run", name="runs_key"),
    Index("runs_forgotten_at", "forgotten_at"),
)

requests = Table(
    "requests",
    metadata,
    Column("kept", Counted, primary_key=True),  # in the order in which they were taken
    Column("simulation", Exact, nullable=False),
    Column("run", BigInteger, nullable=False),
    Column("digest", Exact, nullable=False),
    Column("request_id", Exact, nullable=False),
    Column("delivery", BigInteger, nullable=False),
    # Of the three: an id may be longer than PostgreSQL lets an index have it.
    Column("fingerprint", Text, nullable=False),
    UniqueConstraint("simulation", "run", "fingerprint", name="requests_key"),
)

models = Table(
    "models",
    metadata,
    Column("position", Counted, primary_key=True),  # in the order in which they were asked for
    Column("simulation", Exact, nullable=False),
    Column("run", BigInteger, nullable=False),
    Column("model", Exact, nullable=False),
    Column("recollection", Text, nullable=False),  # with its environment: secret
    Column("image", Prose, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("since", Instant, nullable=False),
    Column("state", Text, nullable=False),
    Column("attempt", BigInteger, nullable=False),
    Column("deployed", BigInteger),  # the attempt that was seen last where models run
    Column("ready", Boolean, nullable=False),
    Column("exit_code", BigInteger),
    Column("reason", Text),
    Column("message", Prose, nullable=False),
    Column("started_at", Instant),
    Column("finished_at", Instant),
    Column("node", Prose, nullable=False),
    Column("lines", Lines, nullable=False),
    Column("warnings", Lines, nullable=False),
    UniqueConstraint("simulation", "run", "model", name="models_key"),
)

outbox = Table(
    "outbox",
    metadata,
    Column("number", Counted, primary_key=True, autoincrement=False),
    Column("kind", Text, nullable=False),
    Column("simulation", Exact, nullable=False),
    Column("run", BigInteger),  # null for a message about no run
    Column("about", Exact, nullable=False),
    Column("topic", Exact, nullable=False),
    Column("payload", LargeBinary, nullable=False),
    Column("held", Boolean, nullable=False),
    Column("witness", Exact, nullable=False),
    Column("done", Boolean, nullable=False),
    Column("withheld", Boolean, nullable=False),
    Index("outbox_run", "simulation", "run"),
)

notes = Table(
    "notes",
    metadata,
    Column("name", Exact, primary_key=True),
    Column("value", Exact, nullable=False),
)
