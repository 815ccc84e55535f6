"""What does it cost to write things down? Wall time and CPU of the ledger, a model, beside the bare database.

The yardstick is Python's own `sqlite3` that inserts the text of as many models into a table with one column, in one
transaction that is as durable (WAL, synchronous=FULL). PostgreSQL is measured where MSO_DATABASE_URL names an empty
database.
"""

import argparse
import asyncio
import os
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from mso import recollection
from mso.ledger import Entry, ModelAsked, ModelStands, RowDone, RowPut, RunKept, RunRecord
from mso.ledger.sql import SqlLedger
from mso.model import (
    EnvironmentVariable,
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

BATCH = 1000
SMALL_COMMITS = 200


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.ledger", description="What does it cost to write things down?"
    )
    parser.add_argument("--models", type=int, default=10_000, metavar="N", help="models in all (10000)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mso-bench-") as directory:
        places = {"SQLite": str(Path(directory) / "ledger.sqlite")}
        if url := os.environ.get("MSO_DATABASE_URL"):
            places["PostgreSQL"] = url
        bare = bare_inserts(Path(directory) / "bare.sqlite")
        report("yardstick: a bare insert of its text", bare)
        for name, place in places.items():
            print(f"-- {name}")
            asyncio.run(measure(place, options.models))


async def measure(place: str, count: int) -> None:
    runs = [RunKey(SimulationId(f"sim-{number}"), 1) for number in range(max(1, count // BATCH))]
    async with SqlLedger(place) as ledger:
        await ledger.claim()
        asked = [await timed(lambda run=run: ledger.commit(begun(run))) for run in runs]  # type: ignore[misc]
        report("asked for, a model (in batches of 1000)", statistics.median(asked) / BATCH)
        ended = [
            await timed(lambda run=run, number=number: ledger.commit(over(run, number * BATCH + 1)))  # type: ignore[misc]
            for number, run in enumerate(runs)
        ]
        report("ended and told, a model (in batches of 1000)", statistics.median(ended) / BATCH)
        small = [
            await timed(lambda number=number: ledger.commit([ModelStands(a_model(runs[0], number, ended=True))]))  # type: ignore[misc]
            for number in range(SMALL_COMMITS)
        ]
        report("a commit of one state: p50", statistics.median(small))
        report("the same, p99", sorted(small)[int(len(small) * 0.99)])
        report(f"recover {count} models", await timed(ledger.recover))


async def timed(call: Callable[[], Awaitable[object]]) -> float:
    began = time.perf_counter()
    await call()
    return time.perf_counter() - began


def begun(run: RunKey) -> Sequence[Entry]:
    models = [a_model(run, number) for number in range(BATCH)]
    return [RunKept(RunRecord(run, models[0].request)), *map(ModelAsked, models)]


def over(run: RunKey, first_row: int) -> Sequence[Entry]:
    entries: list[Entry] = []
    for number in range(BATCH):
        model = a_model(run, number, ended=True)
        topic = f"/lifecycle/mso/bench/{run.simulation}/{model.key.model}/ModelHasTerminated"
        row = Row(
            first_row + number, Kind.TERMINATION, run.simulation, topic, b"\x08\x01\x10\x01", run, model.key.model
        )
        entries += [ModelStands(model), RowPut(row), RowDone(row.number)]
    return entries


def a_model(run: RunKey, number: int, *, ended: bool = False) -> Model:
    """With eight variables, as those in the field have."""
    now = datetime.now(UTC)
    name = ModelId(f"model-{number}")
    environment = tuple(EnvironmentVariable(f"VARIABLE_{index}", f"value {index} of {name}") for index in range(8))
    model = Model(
        ModelKey(*run, name),
        ModelSpec(name, "registry.example.org/energy/heat-pump:2.1", environment),
        Request(SimulatorName("bench"), run.simulation, digest="d" * 32),
        created_at=now,
        since=now,
    )
    if not ended:
        return model
    return replace(model, state=State.FAILED, exit_code=1, reason=Reason.ERROR, message="exit code 1", finished_at=now)


def bare_inserts(path: Path) -> float:
    """Seconds a model."""
    texts = [(recollection.encode(a_model(RunKey(SimulationId("bare"), 1), number)),) for number in range(BATCH)]
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE models (text TEXT)")
    began = time.perf_counter()
    connection.execute("BEGIN IMMEDIATE")
    connection.executemany("INSERT INTO models VALUES (?)", texts)
    connection.execute("COMMIT")
    took = time.perf_counter() - began
    connection.close()
    return took / BATCH


def report(what: str, seconds: float) -> None:
    print(f"{what:50} {1000 * seconds:10.3f} ms", flush=True)


if __name__ == "__main__":
    main()
