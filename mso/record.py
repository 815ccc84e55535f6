"""Record: what must outlive the process is written down first, and acted on then.

The only writer of the ledger. What happens in one turn of the event loop, states and the messages about them, is one
transaction; while it is under way the next one gathers. Whoever acts on a Change (deploys, removes, sends,
acknowledges) is told of it only when its transaction is durable: no effect without its cause on the record, whatever is
killed when (docs/protocol.md, *Promises*).
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from functools import partial

import structlog

from mso.changes import (
    Change,
    ModelAdded,
    ModelChanged,
    ModelRemoved,
    Observer,
    SimulationAdded,
    SimulationAdopted,
    SimulationEnded,
    SimulationExtended,
    SimulationForgotten,
    SimulationReady,
    SimulationRemoving,
    SimulationReported,
    SimulationRestored,
    SimulationStopping,
)
from mso.crash import reached
from mso.inventory import Inventory
from mso.ledger import (
    Entry,
    Ledger,
    LedgerError,
    ModelAsked,
    ModelStands,
    RequestKept,
    RunForgotten,
    RunKept,
    RunRecord,
)
from mso.model import RunKey
from mso.patience import persist
from mso.runs import Run

log = structlog.get_logger()

SLICE = 200
"""How many effects follow one another before the event loop may do something else."""
PAUSE_CAP_SECONDS = 1.0
"""The longest pause before a commit is tried again: once there is room on the disk, much waits for it."""
PRUNE_SECONDS = 3600.0


class Record:
    """Observer and loop. `then` are the observers that act: they are told of a Change once it is durable.

    `failed` counts transactions that did not go through. `trouble` says what keeps things from being written down;
    while there is any, nothing more should be taken in.
    """

    def __init__(
        self,
        inventory: Inventory,
        ledger: Ledger,
        *,
        then: Sequence[Observer],
        step: Callable[[str], AbstractContextManager[None]],
        failed: Callable[[], None] = lambda: None,
    ) -> None:
        self._inventory = inventory
        self._ledger = ledger
        self._then = then
        self._count_failed = failed
        self._step = step
        self._waiting: deque[tuple[Sequence[Entry], Callable[[], None] | None]] = deque()
        self._wake = asyncio.Event()
        self._is_idle = asyncio.Event()
        self._is_idle.set()
        self._is_well = asyncio.Event()
        self._is_well.set()
        self.trouble = ""

    # -- in -------------------------------------------------------------------------------------------------------

    def observe(self, change: Change) -> None:
        """Write down what the Change altered; what acts on it hears of it after that."""
        self.write(self._entries(change), partial(self._tell, change))

    def write(self, entries: Sequence[Entry], then: Callable[[], None] | None = None) -> None:
        """Write down, behind all that was said before, and call `then` when that is durable; it must not raise."""
        self._waiting.append((entries, then))
        self._is_idle.clear()
        self._wake.set()

    async def written(self, *entries: Entry) -> None:
        """Write down, and return when that, and all that was said before, is durable."""
        durable = asyncio.Event()
        self.write(entries, durable.set)
        await durable.wait()

    async def flowing(self) -> None:
        """Wait until there is no trouble: what nobody can write down is better left where it is."""
        await self._is_well.wait()

    async def flushed(self) -> None:
        """Wait until all that was said so far is durable, and was acted on."""
        await self._is_idle.wait()

    # -- out ------------------------------------------------------------------------------------------------------

    async def keep(self) -> None:
        """Loop: one transaction after the other. Raises DeposedError and UnusableLedgerError, which end the process."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            batch, self._waiting = self._waiting, deque()
            entries = [entry for some, _ in batch for entry in some]
            if entries:
                reached("record.before-commit")
                await self._commit(entries)
                reached("record.after-commit")
            with self._step("record"):
                for number, (_, then) in enumerate(batch, start=1):
                    if then:
                        then()
                    if number % SLICE == 0:
                        await asyncio.sleep(0)
            if not self._waiting:
                self._is_idle.set()

    async def _commit(self, entries: Sequence[Entry]) -> None:
        def tell(error: LedgerError, pause: float) -> None:
            self._count_failed()
            self.trouble = f"nothing can be written down: {error}"
            self._is_well.clear()
            log.error("ledger.trouble", why=str(error), waiting=len(entries), seconds=round(pause, 1))

        commit = partial(self._ledger.commit, entries)
        await persist(commit, LedgerError, tell, first=0.1, cap=PAUSE_CAP_SECONDS)
        if self.trouble:
            self.trouble = ""
            log.info("ledger.well_again", written=len(entries))
        self._is_well.set()

    async def prune_history(self, keep: timedelta) -> None:
        """Loop: what was forgotten longer ago than `keep` is deleted from the ledger."""
        while True:
            try:
                pruned = await self._ledger.prune(datetime.now(UTC) - keep)
            except LedgerError as error:
                log.warning("ledger.not_pruned", why=str(error))
            else:
                if pruned:
                    log.info("ledger.pruned", runs=pruned)
            await asyncio.sleep(PRUNE_SECONDS)

    def _tell(self, change: Change) -> None:
        for observer in self._then:
            observer(change)

    # -- what a Change means for the ledger -----------------------------------------------------------------------

    def _entries(self, change: Change) -> Sequence[Entry]:
        match change:
            case SimulationAdded() | SimulationExtended():
                request = change.request
                kept = RequestKept(change.run, request.digest, request.request_id, change.delivery)
                return self._run(change.run), kept
            case SimulationAdopted(run=run):
                return tuple(self._adopted(run))
            case ModelAdded(model=model):
                return (ModelAsked(model),)
            case ModelChanged(model=model):
                return (ModelStands(model),)
            case SimulationReady(run=run) | SimulationStopping(run=run) | SimulationRemoving(run=run):
                return (self._run(run),)
            case SimulationEnded(run=run) | SimulationReported(run=run):
                return (self._run(run),)
            case SimulationForgotten(run=run):
                return (RunForgotten(run, datetime.now(UTC)),)
            case SimulationRestored() | ModelRemoved():
                return ()

    def _run(self, key: RunKey) -> RunKept:
        return RunKept(record_of(self._changed(key)))

    def _adopted(self, key: RunKey) -> Iterable[Entry]:
        run = self._changed(key)
        yield RunKept(record_of(run))
        requests = {model.request.digest: model.request for model in run.models.values()}
        for request in requests.values():
            yield RequestKept(key, request.digest, request.request_id)
        for model in run.models.values():
            yield ModelAsked(model)

    def _changed(self, key: RunKey) -> Run:
        run = self._inventory.run(key)
        assert run, f"{key} changed, and is not known"
        return run


def record_of(run: Run) -> RunRecord:
    """All of a run but its models."""
    return RunRecord(
        run.key,
        run.request,
        announced=run.announced,
        stopping=run.stopping,
        removing_since=run.removing_since,
        ended_at=run.ended_at,
        reported_at=run.reported_at,
    )
