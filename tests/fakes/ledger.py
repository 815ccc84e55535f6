"""A ledger in memory, with the contract of mso.ledger. Whether it can be written to, and when, the test decides."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Self

from mso.ledger import (
    AttemptDeployed,
    Entry,
    KnownModel,
    KnownRun,
    LinesKept,
    ModelAsked,
    ModelStands,
    Noted,
    PastModel,
    Recovered,
    RequestKept,
    RowDone,
    RowPut,
    RowReleased,
    RowSent,
    RunForgotten,
    RunKept,
    RunRecord,
    RunSummary,
)
from mso.model import Model, ModelKey, RunKey, SimulationId
from mso.outbox import Row


class FakeLedger:
    """Keeps everything at once, unless it is told otherwise."""

    def __init__(self) -> None:
        self.commits: list[tuple[Entry, ...]] = []
        """What was kept, each transaction by itself."""
        self.tries: list[tuple[Entry, ...]] = []
        """What was to be kept, whether it was or not."""
        self.refusals: list[Exception] = []
        """What the next calls are answered with, one each."""
        self.may_commit = asyncio.Event()
        self.may_commit.set()
        self.pruned: list[datetime] = []
        self.heard: Callable[[], None] = lambda: None
        """Called when a transaction begins."""

    @property
    def entries(self) -> list[Entry]:
        """All that was kept, in order."""
        return [entry for commit in self.commits for entry in commit]

    # What Ledger promises.

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        return

    async def claim(self) -> int:
        return 1

    async def commit(self, entries: Sequence[Entry]) -> None:
        self.tries.append(tuple(entries))
        self.heard()
        await asyncio.sleep(0)  # the caller meets others here, as it does with every real ledger
        await self.may_commit.wait()
        if self.refusals:
            raise self.refusals.pop(0)
        self.commits.append(tuple(entries))

    async def recover(self) -> Recovered:
        return recovered(self.entries)

    async def told(self, since: datetime) -> tuple[Row, ...]:
        raise AssertionError("nobody tells anything again in these tests")

    async def runs(self, simulation: str = "", limit: int = 1000, *, left: bool = False) -> tuple[RunSummary, ...]:
        raise AssertionError("nobody looks back in these tests")

    async def models(self, run: RunKey) -> tuple[PastModel, ...]:
        raise AssertionError("nobody looks back in these tests")

    async def withheld(self, simulation: str) -> Row | None:
        raise AssertionError("nobody looks back in these tests")

    async def take_withheld(self, simulation: str) -> Row | None:
        raise AssertionError("nobody looks back in these tests")

    async def prune(self, before: datetime) -> int:
        self.pruned.append(before)
        self.heard()
        if self.refusals:
            raise self.refusals.pop(0)
        return 3


def recovered(entries: Iterable[Entry]) -> Recovered:
    """What a new process has to know after these."""
    kept = _Kept()
    for entry in entries:
        kept.keep(entry)
    return kept.recovered()


class _Kept:
    """One table each."""

    def __init__(self) -> None:
        self._records: dict[RunKey, RunRecord] = {}
        self._requests: dict[RequestKept, None] = {}
        self._models: dict[ModelKey, Model] = {}
        self._deployed: dict[ModelKey, int] = {}
        self._forgotten: dict[RunKey, None] = {}
        self._rows: dict[int, Row] = {}
        self._last_row = 0
        self._notes: dict[str, str] = {}

    def keep(self, entry: Entry) -> None:
        match entry:
            case RunKept(record):
                self._records[record.key] = record
            case RequestKept():
                self._requests[entry] = None
            case ModelAsked(model):
                self._models[model.key] = model
                self._deployed.pop(model.key, None)
            case ModelStands(model):
                asked = self._models[model.key]
                self._models[model.key] = replace(model, spec=asked.spec, request=asked.request)
            case AttemptDeployed(attempt):
                self._deployed[attempt.key] = attempt.number
            case RunForgotten(run):
                self._forgotten[run] = None
            case RowPut(row):
                self._rows[row.number] = replace(row, open=False)
                self._last_row = row.number
            case RowReleased(number, payload):
                self._rows[number] = replace(self._rows[number], held=False, payload=payload)
            case RowSent(number, witness):
                self._rows[number] = replace(self._rows[number], witness=witness)
            case RowDone(number):
                self._rows.pop(number, None)
            case Noted(name, value):
                self._notes[name] = value
            case LinesKept():
                pass

    def recovered(self) -> Recovered:
        last: dict[SimulationId, RunKey] = {}
        for run in self._records:
            last[run.simulation] = max(last.get(run.simulation, run), run)
        return Recovered(
            runs=tuple(self._known(run) for run in self._records if run not in self._forgotten),
            bygone=tuple(self._known(run, bygone=True) for run in self._forgotten if last[run.simulation] == run),
            taken=tuple(self._requests),
            rows=tuple(self._rows.values()),
            last_row=self._last_row,
            notes=self._notes,
        )

    def _known(self, run: RunKey, *, bygone: bool = False) -> KnownRun:
        models = [] if bygone else [model for model in self._models.values() if model.key.run_key == run]
        return KnownRun(
            self._records[run],
            tuple(request for request in self._requests if request.run == run),
            tuple(KnownModel(model, self._deployed.get(model.key) == model.attempt) for model in models),
        )
