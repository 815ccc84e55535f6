"""Entries as statements, in batches: what they leave behind is what they leave one after the other."""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from functools import cache
from typing import Any

from sqlalchemy import Connection, Table, Update, bindparam, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.dml import Insert

from mso import recollection
from mso.ledger import (
    AttemptDeployed,
    Entry,
    LinesKept,
    ModelAsked,
    ModelStands,
    Noted,
    RequestKept,
    RowDone,
    RowPut,
    RowReleased,
    RowSent,
    RunForgotten,
    RunKept,
    RunRecord,
)
from mso.ledger.schema import epoch, models, notes, outbox, requests, runs
from mso.model import Model, ModelKey, RunKey
from mso.outbox import Row

Fields = dict[str, Any]
Batch = tuple[type[Entry], list[Entry]]

MICROSECOND = timedelta(microseconds=1)


def write(connection: Connection, entries: Sequence[Entry]) -> None:
    """Keep them all, in this order, in the connection's transaction."""
    for kind, batch in batches(entries):
        statement = _statements(connection.dialect.name)[kind]
        connection.execute(statement, [_fields(entry) for entry in batch])
    if highest := max((entry.row.number for entry in entries if isinstance(entry, RowPut)), default=0):
        connection.execute(update(epoch).where(epoch.c.last_row < highest).values(last_row=highest))


def batches(entries: Iterable[Entry]) -> list[Batch]:
    """Entries of one kind together, as far as nobody can tell.

    Nobody can as long as the entries about one thing keep their order (they change it), and so do all of one kind (it
    is the order in which things are kept).
    """
    made: list[Batch] = []
    latest: dict[type[Entry], int] = {}
    touched: dict[object, int] = {}
    for entry in entries:
        kind, thing = type(entry), _thing(entry)
        index = latest.get(kind, -1)
        if index < touched.get(thing, 0):
            index = latest[kind] = len(made)
            made.append((kind, []))
        made[index][1].append(entry)
        touched[thing] = index
    return made


def _thing(entry: Entry) -> object:
    """What is changed. A key of a run is no key of a model, for that is longer; the others differ by type."""
    match entry:
        case RunKept():
            return entry.record.key
        case RunForgotten():
            return entry.run
        case RequestKept():
            return entry
        case ModelAsked() | ModelStands():
            return entry.model.key
        case AttemptDeployed():
            return entry.attempt.key
        case LinesKept():
            return entry.key
        case RowPut():
            return entry.row.number
        case RowReleased() | RowSent() | RowDone():
            return entry.number
        case Noted():
            return entry.name


# -- statements -----------------------------------------------------------------------------------------------------


@cache
def _statements(dialect: str) -> Mapping[type[Entry], Insert | Update]:
    """One for each kind, to be executed with the `_fields` of many: those set columns, but for `at_`, which selects."""
    at_run = update(runs).where(runs.c.simulation == bindparam("at_simulation"), runs.c.run == bindparam("at_run"))
    at_model = update(models).where(
        models.c.simulation == bindparam("at_simulation"),
        models.c.run == bindparam("at_run"),
        models.c.model == bindparam("at_model"),
    )
    at_row = update(outbox).where(outbox.c.number == bindparam("at_number"))
    return {
        # That a run was forgotten is no part of its record.
        RunKept: _put(dialect, runs, key=("simulation", "run"), keeping=("opened", "forgotten_at")),
        RunForgotten: at_run,
        RequestKept: _INSERT[dialect](requests).on_conflict_do_nothing(),
        ModelAsked: _put(dialect, models, key=("simulation", "run", "model"), keeping=("position",)),
        ModelStands: at_model,
        AttemptDeployed: at_model,
        LinesKept: at_model,
        RowPut: _put(dialect, outbox, key=("number",)),
        RowReleased: at_row,
        RowSent: at_row,
        RowDone: at_row,
        Noted: _put(dialect, notes, key=("name",)),
    }


_INSERT: Mapping[str, Callable[[Table], sqlite.Insert | postgresql.Insert]] = {
    "sqlite": sqlite.insert,
    "postgresql": postgresql.insert,
}


def _put(dialect: str, table: Table, key: Sequence[str], keeping: Sequence[str] = ()) -> Insert:
    """Insert, or take the place of what has the same key; columns in `keeping` stay as they were."""
    insert = _INSERT[dialect](table)
    replaced = {column.name: insert.excluded[column.name] for column in table.c if column.name not in (*key, *keeping)}
    return insert.on_conflict_do_update(index_elements=key, set_=replaced)


# -- values ---------------------------------------------------------------------------------------------------------


def _fields(entry: Entry) -> Fields:
    match entry:
        case RunKept(record):
            return _run(record)
        case RunForgotten(run, at):
            return _at_run(run) | {"forgotten_at": at}
        case RequestKept(run, digest, request_id, delivery):
            return {
                "simulation": run.simulation,
                "run": run.run,
                "digest": digest,
                "request_id": request_id,
                "delivery": delivery,
                "fingerprint": hashlib.sha256(json.dumps([digest, request_id, delivery]).encode()).hexdigest(),
            }
        case ModelAsked(model):
            return _asked(model)
        case ModelStands(model):
            return _at_model(model.key) | _standing(model)
        case AttemptDeployed(attempt):
            return _at_model(attempt.key) | {"deployed": attempt.number}
        case LinesKept(key, lines, warnings):
            return _at_model(key) | {"lines": lines, "warnings": warnings}
        case RowPut(row):
            return _row(row)
        case RowReleased(number, payload):
            return {"at_number": number, "held": False, "payload": payload}
        case RowSent(number, witness):
            return {"at_number": number, "witness": witness}
        case RowDone(number, withheld):
            return {"at_number": number, "done": True, "withheld": withheld}
        case Noted(name, value):
            return {"name": name, "value": value}


def _at_run(run: RunKey) -> Fields:
    return {"at_simulation": run.simulation, "at_run": run.run}


def _at_model(key: ModelKey) -> Fields:
    return {"at_simulation": key.simulation, "at_run": key.run, "at_model": key.model}


def _run(record: RunRecord) -> Fields:
    request = record.request
    return {
        "simulation": record.key.simulation,
        "run": record.key.run,
        "simulator": request.simulator,
        "simulator_id": request.simulator_id,
        "protocol_version": request.protocol_version,
        "keep_logs": request.keep_logs // MICROSECOND,
        "failure_policy": request.failure_policy.value,
        "more_to_come": request.more_to_come,
        "request_id": request.request_id,
        "digest": request.digest,
        "announced": record.announced,
        "stopping": record.stopping,
        "removing_since": record.removing_since,
        "ended_at": record.ended_at,
        "reported_at": record.reported_at,
    }


def _asked(model: Model) -> Fields:
    return {
        "simulation": model.key.simulation,
        "run": model.key.run,
        "model": model.key.model,
        "recollection": recollection.encode(model),
        "image": model.spec.image,
        "deployed": None,
        "lines": (),
        "warnings": (),
    } | _standing(model)


def _standing(model: Model) -> Fields:
    return {
        "created_at": model.created_at,
        "since": model.since,
        "state": model.state.value,
        "attempt": model.attempt,
        "ready": model.ready,
        "exit_code": model.exit_code,
        "reason": model.reason,
        "message": model.message,
        "started_at": model.started_at,
        "finished_at": model.finished_at,
        "node": model.node,
    }


def _row(row: Row) -> Fields:
    return {
        "number": row.number,
        "kind": row.kind.name,
        "simulation": row.simulation,
        "run": row.run and row.run.run,
        "about": row.about,
        "topic": row.topic,
        "payload": row.payload,
        "held": row.held,
        "witness": row.witness,
        "done": False,
        "withheld": False,
    }
