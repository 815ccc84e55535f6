"""History: what the ledger remembers, for people and their spreadsheets. It only reads, and disturbs no service."""

import csv
import json
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TextIO

from mso.ledger import Ledger, PastModel, RunSummary
from mso.model import ModelId, State
from mso.wording import one_line

FORMATS = ("table", "csv", "json")

Line = Mapping[str, object]


class UnknownError(LookupError):
    """The ledger knows nothing of it; what to look at instead."""


async def runs(ledger: Ledger, limit: int) -> list[Line]:
    """The last runs, the last opened first."""
    return [_run(summary) for summary in await ledger.runs(limit=limit)]


async def models(ledger: Ledger, simulation: str, run: int | None) -> list[Line]:
    """The models of one run of a simulation, of the last one if none is named. Raises UnknownError."""
    summary = await find(ledger, simulation, run)
    return [_model(one) for one in await ledger.models(summary.record.key)]


async def lines(ledger: Ledger, simulation: str, model: str, run: int | None) -> PastModel:
    """A model with the last that it wrote. Raises UnknownError."""
    key = (await find(ledger, simulation, run)).record.key
    for one in await ledger.models(key):
        if one.model.key.model == ModelId(model):
            return one
    raise UnknownError(f"run {key.run} of {simulation} has no model {model}: mso history --simulation {simulation}")


async def find(ledger: Ledger, simulation: str, run: int | None = None) -> RunSummary:
    """A run of a simulation, the last one if none is named. Raises UnknownError."""
    known = await ledger.runs(simulation, limit=1 if run is None else 1000)
    for summary in known:
        if run in (None, summary.record.key.run):
            return summary
    if known:
        numbers = ", ".join(str(summary.record.key.run) for summary in reversed(known))
        raise UnknownError(f"{simulation} has no run {run}; there are {numbers}")
    raise UnknownError(f"the ledger knows no simulation {simulation}: mso history lists those that it knows")


def show(table: Sequence[Line], style: str, stream: TextIO = sys.stdout) -> None:
    """Write it as a table for people, as CSV with a header, or as a JSON array."""
    match style:
        case "json":
            json.dump(table, stream, indent=2, ensure_ascii=False, default=_plain)
            stream.write("\n")
        case "csv" if table:
            writer = csv.DictWriter(stream, list(table[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows({name: _plain(value) for name, value in line.items()} for line in table)
        case "table" if table:
            _align([list(table[0]), *([one_line(value) for value in line.values()] for line in table)], stream)


def _align(rows: Sequence[Sequence[str]], stream: TextIO) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        stream.write("  ".join(cells).rstrip() + "\n")


def _run(summary: RunSummary) -> Line:
    record = summary.record
    return {
        "simulation": record.key.simulation,
        "run": record.key.run,
        "simulator": record.request.simulator,
        "state": summary.standing,
        "models": sum(summary.tally.values()),
        **{state.value: summary.tally.get(state, 0) for state in State},
        "opened": summary.opened_at,
        "ended": record.ended_at,
    }


def _model(past: PastModel) -> Line:
    model = past.model
    return {
        "model": model.key.model,
        "run": model.key.run,
        "state": model.state.value,
        "reason": model.reason and str(model.reason),
        "exit_code": model.exit_code,
        "attempt": model.attempt,
        "image": model.spec.image,
        "node": model.node,
        "created": model.created_at,
        "started": model.started_at,
        "finished": model.finished_at,
        "message": model.message,
    }


def _plain(value: object) -> object:
    """As other programs read it."""
    return value.isoformat() if isinstance(value, datetime) else value
