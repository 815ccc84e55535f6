"""What is kept in the tests of the ledger, unremarkable or any that there can be; and ways behind its back."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import psycopg
from hypothesis import strategies as st

from mso.ledger import (
    AttemptDeployed,
    Entry,
    LinesKept,
    ModelAsked,
    ModelStands,
    Noted,
    Recovered,
    RequestKept,
    RowDone,
    RowPut,
    RowReleased,
    RowSent,
    RunForgotten,
    RunKept,
    RunRecord,
)
from mso.ledger.sql import SqlLedger
from mso.model import (
    Attempt,
    EnvironmentVariable,
    FailurePolicy,
    Model,
    ModelId,
    ModelKey,
    ModelSpec,
    Reason,
    Request,
    RunKey,
    SimulationId,
    SimulatorName,
    State,
)
from mso.outbox import Kind, Row

HOUR = timedelta(hours=1)
NOW = datetime(2026, 5, 4, 12, 0, 0, 123456, tzinfo=UTC)
RUN = RunKey(SimulationId("sim-1"), 1)


def a_run(number: int = 1, simulation: str = "sim-1") -> RunKey:
    return RunKey(SimulationId(simulation), number)


def a_record(run: RunKey = RUN, **fields: Any) -> RunRecord:
    return RunRecord(run, Request(SimulatorName("essim"), run.simulation, digest="digest-1"), **fields)


def a_model(name: str = "m-0", run: RunKey = RUN, *, secret: str = "hush", **fields: Any) -> Model:
    key = ModelKey(run.simulation, run.run, ModelId(name))
    spec = ModelSpec(key.model, "registry.example/heat-pump:1", (EnvironmentVariable("PASSWORD", secret),))
    request = Request(SimulatorName("essim"), run.simulation, digest="digest-1")
    return replace(Model(key, spec, request, created_at=NOW, since=NOW), **fields)


def a_row(number: int, kind: Kind = Kind.TERMINATION, run: RunKey | None = RUN, **fields: Any) -> Row:
    simulation = run.simulation if run else SimulationId("sim-1")
    row = Row(number, kind, simulation, f"/lifecycle/mso/essim/{simulation}/{kind.name}", b"\x08\x01", run, "m-0")
    return replace(row, **fields)


def opened(*runs: RunKey) -> list[Entry]:
    return [RunKept(a_record(run)) for run in runs]


def plain(row: Row | None) -> tuple[Any, ...] | None:
    """A row by what is in it: two rows are never equal."""
    if row is None:
        return None
    return (row.number, row.kind, row.simulation, row.topic, row.payload, row.run, row.about, row.held, row.witness)


async def keep(place: str, *entries: Entry) -> None:
    """What an MSO does that is gone after it."""
    async with SqlLedger(place) as ledger:
        await ledger.claim()
        await ledger.commit(entries)


async def recovered(place: str) -> Recovered:
    """What the next one is told."""
    async with SqlLedger(place) as ledger:
        return await ledger.recover()


# -- any ------------------------------------------------------------------------------------------------------------

TEXTS = st.text(max_size=20)
"""As they come over the wire: with NUL characters, and without halves of characters."""
PROSE = st.text(st.characters(), max_size=20)
"""As it comes from anywhere."""
TIMES = st.datetimes(
    datetime(1970, 1, 2),  # noqa: DTZ001 - hypothesis wants it without, and adds the zone itself
    datetime(2400, 1, 1),  # noqa: DTZ001
    timezones=st.sampled_from((UTC, timezone(timedelta(hours=2)))),
)
RUNS = st.builds(RunKey, st.sampled_from((SimulationId("sim-1"), SimulationId("sim-😀"))), st.integers(1, 2))
NUMBERS = st.integers(1, 4)


@st.composite
def requests(draw: st.DrawFn, run: RunKey) -> Request:
    return Request(
        SimulatorName(draw(TEXTS)),
        run.simulation,
        simulator_id=draw(TEXTS),
        protocol_version=draw(st.integers(1, 2)),
        keep_logs=draw(st.timedeltas(timedelta(0), timedelta(days=365))),
        failure_policy=draw(st.sampled_from(FailurePolicy)),
        more_to_come=draw(st.booleans()),
        request_id=draw(TEXTS),
        digest=draw(TEXTS),
    )


@st.composite
def records(draw: st.DrawFn) -> RunRecord:
    run = draw(RUNS)
    flags, moments = st.booleans(), st.none() | TIMES
    return RunRecord(run, draw(requests(run)), draw(flags), draw(flags), draw(moments), draw(moments), draw(moments))


@st.composite
def models(draw: st.DrawFn) -> Model:
    run = draw(RUNS)
    name = ModelId(draw(st.sampled_from(("m-0", "m-1"))))
    request = draw(requests(run))
    return Model(
        ModelKey(*run, name),
        ModelSpec(name, draw(TEXTS), (EnvironmentVariable("A", draw(TEXTS)),)),
        request,
        created_at=draw(TIMES),
        since=draw(TIMES),
        state=draw(st.sampled_from(State)),
        attempt=draw(NUMBERS),
        ready=draw(st.booleans()),
        exit_code=draw(st.none() | st.integers(-1, 255)),
        reason=draw(st.none() | st.sampled_from(Reason)),
        message=draw(PROSE),
        started_at=draw(st.none() | TIMES),
        finished_at=draw(st.none() | TIMES),
        node=draw(PROSE),
    )


@st.composite
def rows(draw: st.DrawFn) -> Row:
    run = draw(st.none() | RUNS)
    return Row(
        draw(NUMBERS),
        draw(st.sampled_from(Kind)),
        run.simulation if run else SimulationId("sim-3"),
        draw(TEXTS),
        draw(st.binary(max_size=20)),
        run,
        draw(TEXTS),
        draw(st.booleans()),
        draw(TEXTS),
    )


_KEYS = models().map(lambda model: model.key)
_LINES = st.lists(PROSE, max_size=3).map(tuple)

ENTRIES: st.SearchStrategy[Entry] = st.one_of(
    st.builds(RunKept, records()),
    st.builds(RequestKept, RUNS, TEXTS, TEXTS, st.integers(0, 65535)),
    st.builds(ModelAsked, models()),
    st.builds(ModelStands, models()),
    st.builds(AttemptDeployed, st.builds(Attempt, _KEYS, NUMBERS)),
    st.builds(LinesKept, _KEYS, _LINES, _LINES),
    st.builds(RowPut, rows()),
    st.builds(RowReleased, NUMBERS, st.binary(max_size=20)),
    st.builds(RowSent, NUMBERS, TEXTS),
    st.builds(RowDone, NUMBERS, st.booleans()),
    st.builds(RunForgotten, RUNS, TIMES),
    st.builds(Noted, st.sampled_from(("a", "b")), PROSE),
)


# -- behind its back ------------------------------------------------------------------------------------------------


def engine_url(where: str) -> str:
    return where.replace("postgresql://", "postgresql+psycopg://") if "://" in where else f"sqlite:///{where}"


def execute(where: str, statement: str) -> None:
    """As somebody does who has no business there."""
    if "://" in where:
        with psycopg.connect(where, autocommit=True) as connection:
            connection.execute(statement.encode())
    else:
        with closing(sqlite3.connect(where, isolation_level=None)) as file:
            file.execute(statement)


@contextmanager
def locked(where: str) -> Iterator[None]:
    """Nobody else can write meanwhile."""
    if "://" in where:
        with psycopg.connect(where) as connection:
            connection.execute("SELECT * FROM epoch FOR UPDATE")
            yield
    else:
        with closing(sqlite3.connect(where, isolation_level=None)) as file:
            file.execute("BEGIN IMMEDIATE")
            yield
