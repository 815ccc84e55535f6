"""What was kept, as values again, and what of it is looked for."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, FromClause, Select, Table, and_, case, exists, func, or_, select
from sqlalchemy import Row as Record

from mso import recollection
from mso.ledger import KnownModel, KnownRun, PastModel, Recovered, RequestKept, RunRecord, RunSummary
from mso.ledger.schema import epoch, models, notes, outbox, requests, runs
from mso.ledger.writing import MICROSECOND
from mso.model import FailurePolicy, Model, Reason, Request, RunKey, SimulationId, SimulatorName, State
from mso.outbox import Kind, Row

BYGONE_AT_MOST = 10_000
"""Of so many simulations that left no run behind the last run is recovered."""
REQUESTS_AT_MOST = 100_000

_ENDS = tuple(kind.name for kind in (Kind.TERMINATION, Kind.ALL_TERMINATED, Kind.ERROR_OCCURRED))
_NOT_FORGOTTEN = runs.c.forgotten_at.is_(None)
_STANDING = [column for column in models.c if column.name not in ("lines", "warnings")]
"""The last lines of thousands of models are much to read for somebody who does not want them."""


def recover(connection: Connection) -> Recovered:
    known: defaultdict[RunKey, list[KnownModel]] = defaultdict(list)
    wanted = select(*_STANDING).join(runs, and_(is_of_run(models), _NOT_FORGOTTEN)).order_by(models.c.position)
    for record in connection.execute(wanted):
        model = _model(record)
        known[model.key.run_key].append(KnownModel(model, deployed=record.deployed == model.attempt))
    waiting = select(outbox).where(~outbox.c.done).order_by(outbox.c.number)
    return Recovered(
        runs=tuple(_known_runs(connection, select(runs).where(_NOT_FORGOTTEN).order_by(runs.c.opened), known)),
        bygone=tuple(_known_runs(connection, _bygone(), {}))[::-1],
        taken=tuple(_taken(connection))[::-1],
        rows=tuple(map(_row, connection.execute(waiting))),
        last_row=connection.execute(select(epoch.c.last_row)).scalar_one(),
        notes={record.name: record.value for record in connection.execute(select(notes))},
    )


def _taken(connection: Connection) -> Iterator[RequestKept]:
    wanted = select(requests).order_by(requests.c.kept.desc()).limit(REQUESTS_AT_MOST)
    for record in connection.execute(wanted):
        yield _request(record)


def _bygone() -> Select[Any]:
    """Of each simulation the last run, if that is forgotten; the latest forgotten come first."""
    later = runs.alias()
    return (
        select(runs)
        .where(runs.c.forgotten_at.is_not(None))
        .where(~exists().where(later.c.simulation == runs.c.simulation, later.c.run > runs.c.run))
        .order_by(runs.c.forgotten_at.desc(), runs.c.opened.desc())
        .limit(BYGONE_AT_MOST)
    )


def _known_runs(
    connection: Connection, wanted: Select[Any], known: Mapping[RunKey, Sequence[KnownModel]]
) -> Iterator[KnownRun]:
    taken: defaultdict[RunKey, list[RequestKept]] = defaultdict(list)
    them = wanted.subquery()
    for record in connection.execute(select(requests).join(them, is_of_run(requests, them)).order_by(requests.c.kept)):
        request = _request(record)
        taken[request.run].append(request)
    for record in connection.execute(wanted):
        run = RunKey(record.simulation, record.run)
        yield KnownRun(_run(record), tuple(taken.get(run, ())), tuple(known.get(run, ())))


def told(connection: Connection, since: datetime) -> tuple[Row, ...]:
    recent = or_(runs.c.ended_at.is_(None), runs.c.ended_at >= since)
    wanted = (
        select(outbox)
        .join(runs, and_(is_of_run(outbox), recent))
        .where(outbox.c.done, ~outbox.c.withheld, outbox.c.kind.in_(_ENDS))
        .order_by(outbox.c.number)
    )
    return tuple(map(_row, connection.execute(wanted)))


def runs_of(connection: Connection, simulation: str, limit: int, left: bool) -> tuple[RunSummary, ...]:
    wanted = select(runs).order_by(runs.c.opened.desc()).limit(limit)
    if simulation:
        wanted = wanted.where(runs.c.simulation == simulation)
    if left:
        wanted = wanted.where(_NOT_FORGOTTEN)
    them = wanted.subquery()
    seen = func.count(case((models.c.deployed == models.c.attempt, 1)))
    counted = (
        select(models.c.simulation, models.c.run, models.c.state, func.count(), seen, func.min(models.c.created_at))
        .join(them, is_of_run(models, them))
        .group_by(models.c.simulation, models.c.run, models.c.state)
    )
    tallies: defaultdict[RunKey, dict[State, int]] = defaultdict(dict)
    opened: dict[RunKey, datetime] = {}
    undeployed: defaultdict[RunKey, int] = defaultdict(int)
    for of, run, state, count, deployed, first in connection.execute(counted):
        key = RunKey(of, run)
        tallies[key][State(state)] = count
        opened[key] = min(first, opened.get(key, first))
        if not State(state).terminal:
            undeployed[key] += count - deployed
    records = map(_run, connection.execute(wanted))
    return tuple(RunSummary(one, opened.get(one.key), tallies[one.key], undeployed[one.key]) for one in records)


def models_of(connection: Connection, run: RunKey) -> tuple[PastModel, ...]:
    wanted = select(models).where(models.c.simulation == run.simulation, models.c.run == run.run)
    found = connection.execute(wanted.order_by(models.c.position))
    return tuple(
        PastModel(_model(record), record.lines, record.warnings, deployed=record.deployed == record.attempt)
        for record in found
    )


def withheld(connection: Connection, simulation: str) -> Row | None:
    """The ModelsReady that was put last counts: an earlier one that was withheld may have been sent by it after all."""
    last = select(func.max(runs.c.run)).where(runs.c.simulation == simulation).scalar_subquery()
    lives = and_(runs.c.run == last, runs.c.ended_at.is_(None), _NOT_FORGOTTEN)
    wanted = (
        select(outbox)
        .join(runs, and_(is_of_run(outbox), lives))
        .where(outbox.c.simulation == simulation, outbox.c.kind == Kind.MODELS_READY.name)
        .order_by(outbox.c.number.desc())
        .limit(1)
    )
    found = connection.execute(wanted).one_or_none()
    return _row(found) if found is not None and found.done and found.withheld else None


def is_of_run(table: Table, beside: FromClause = runs) -> ColumnElement[bool]:
    """Whether what stands in a table is of the run beside it."""
    return and_(table.c.simulation == beside.c.simulation, table.c.run == beside.c.run)


# -- values ---------------------------------------------------------------------------------------------------------


def _request(record: Record[Any]) -> RequestKept:
    run = RunKey(SimulationId(record.simulation), record.run)
    return RequestKept(run, record.digest, record.request_id, record.delivery)


def _run(record: Record[Any]) -> RunRecord:
    return RunRecord(
        key=RunKey(SimulationId(record.simulation), record.run),
        request=Request(
            simulator=SimulatorName(record.simulator),
            simulation=SimulationId(record.simulation),
            simulator_id=record.simulator_id,
            protocol_version=record.protocol_version,
            keep_logs=record.keep_logs * MICROSECOND,
            failure_policy=FailurePolicy(record.failure_policy),
            more_to_come=record.more_to_come,
            request_id=record.request_id,
            digest=record.digest,
        ),
        announced=record.announced,
        stopping=record.stopping,
        removing_since=record.removing_since,
        ended_at=record.ended_at,
        reported_at=record.reported_at,
    )


def _model(record: Record[Any]) -> Model:
    return replace(
        recollection.decode(record.recollection),
        created_at=record.created_at,
        since=record.since,
        state=State(record.state),
        attempt=record.attempt,
        ready=record.ready,
        exit_code=record.exit_code,
        reason=None if record.reason is None else Reason(record.reason),
        message=record.message,
        started_at=record.started_at,
        finished_at=record.finished_at,
        node=record.node,
    )


def _row(record: Record[Any]) -> Row:
    simulation = SimulationId(record.simulation)
    return Row(
        number=record.number,
        kind=Kind[record.kind],
        simulation=simulation,
        topic=record.topic,
        payload=bytes(record.payload),
        run=None if record.run is None else RunKey(simulation, record.run),
        about=record.about,
        held=record.held,
        witness=record.witness,
    )
