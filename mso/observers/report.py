"""Report: what the simulation orchestrator must hear, from Change to PUBACK. The outbox keeps the order.

A message is written down with what it tells of, and goes when that is durable; it is done when the broker has it. Only
this loop sends, and only it sends again. A ModelsReady goes by way of announce.py, for it must not go twice.
"""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count

import structlog

from mso.broker import Broker, ConnectionLost
from mso.changes import Change, ModelChanged, SimulationEnded, SimulationReady
from mso.crash import reached
from mso.inventory import Inventory, Rejected
from mso.ledger import Entry, LedgerError, LinesKept, RowDone, RowPut, RowReleased
from mso.model import Model, ModelKey, Reason, RunKey, SimulationId, SimulatorName, State
from mso.observers.metrics import Metrics
from mso.outbox import Kind, Outbox, Row
from mso.patience import persist
from mso.protocol import lifecycle, topics

log = structlog.get_logger()

WINDOW = 200
"""Rows that may be on their way to the broker at once."""
TOLD_AGAIN = timedelta(hours=1)
"""To a broker that lost its memory: what ended no longer ago (docs/protocol.md, *Promises*)."""

Write = Callable[[Sequence[Entry], Callable[[], None] | None], None]
"""Write down, then call: mso.record."""


class Report:
    """Observer and loops: `observe` fills the outbox, `send` and `settle` empty it, and mend a broker's memory.

    `announce` is handed each ModelsReady that may go, `told` reads from the ledger what a broker was told since a time.
    """

    def __init__(
        self,
        inventory: Inventory,
        broker: Broker,
        outbox: Outbox,
        metrics: Metrics,
        *,
        step: Callable[[str], AbstractContextManager[None]],
        write: Write,
        announce: Callable[[Row], None],
        told: Callable[[datetime], Awaitable[Sequence[Row]]],
        send_error_occurred: bool = False,
    ) -> None:
        self._inventory = inventory
        self._broker = broker
        self._outbox = outbox
        self._metrics = metrics
        self._step = step
        self._write = write
        self._announce = announce
        self._told = told
        self._send_error_occurred = send_error_occurred
        self._complained: set[RunKey] = set()
        """Runs of whose first failure the simulation orchestrator was told in the one message that it obeys."""
        self._held: dict[ModelKey, tuple[int, Model]] = {}
        self._numbers = count(1)
        self._outcomes: asyncio.Queue[tuple[Row, asyncio.Future[None]]] = asyncio.Queue()
        self._in_flight = 0
        self._wake = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()

    def resume(self, rows: Iterable[Row], last_number: int) -> list[Model]:
        """Go on with what an earlier process left; returns the failed models whose terminations wait for their logs."""
        self._numbers = count(last_number + 1)
        for run in self._inventory.runs():
            if run.ended_at is None and any(_is_failure(model) for model in run.models.values()):
                self._complained.add(run.key)
        for row in rows:
            if row.held and (model := self._model_of(row)):
                self._held[model.key] = row.number, model
            self._post(row)
        return [model for _, model in self._held.values()]

    def _model_of(self, row: Row) -> Model | None:
        run = self._inventory.run(row.run) if row.run else None
        return next((model for model in run.models.values() if model.key.model == row.about), None) if run else None

    # -- in -------------------------------------------------------------------------------------------------------

    def observe(self, change: Change) -> None:
        """Write down what this Change has to say to the simulation orchestrator."""
        match change:
            case ModelChanged(model=model) if model.state.terminal:
                self._terminated(model)
            case SimulationReady(run, request):
                self._put(
                    Kind.MODELS_READY,
                    topics.models_ready(request.simulator, run.simulation),
                    lifecycle.models_ready(),
                    run.simulation,
                    run=run,
                )
            case SimulationEnded(run, request):
                self._complained.discard(run)
                self._put(
                    Kind.ALL_TERMINATED,
                    topics.all_models_have_terminated(request.simulator, run.simulation),
                    lifecycle.all_models_have_terminated(),
                    run.simulation,
                    run=run,
                )
            case _:
                pass

    def _terminated(self, model: Model) -> None:
        waits_for_lines = model.state is State.FAILED and model.request.protocol_version > 1
        number = self._put(
            Kind.TERMINATION,
            topics.model_has_terminated(model.request.simulator, model.key.simulation, model.key.model),
            lifecycle.model_has_terminated(model),
            model.key.simulation,
            run=model.key.run_key,
            about=model.key.model,
            held=waits_for_lines,
        )
        if waits_for_lines:
            self._held[model.key] = (number, model)
        run = model.key.run_key
        if self._send_error_occurred and _is_failure(model) and run not in self._complained:
            self._complained.add(run)
            self._put(
                Kind.ERROR_OCCURRED,
                topics.error_occurred(model.request.simulator, model.key.simulation, model.key.model),
                lifecycle.error_occurred(model),
                model.key.simulation,
                run=run,
                about=model.key.model,
            )

    def release(self, key: ModelKey, last_lines: tuple[str, ...], warnings: tuple[str, ...] = ()) -> None:
        """The last lines of a failed model are there, or were waited for long enough: its termination may go."""
        lines = [LinesKept(key, last_lines, warnings)] if last_lines or warnings else []
        if held := self._held.pop(key, None):
            number, model = held
            payload = lifecycle.model_has_terminated(model, last_lines, warnings)
            self._write([*lines, RowReleased(number, payload)], partial(self._let_go, number, payload))
        elif lines:
            self._write(lines, None)

    def _let_go(self, number: int, payload: bytes) -> None:
        self._outbox.release(number, payload)
        self._wake.set()

    def reject(self, simulator: SimulatorName, simulation: SimulationId, rejected: Rejected) -> None:
        """Answer a DeployModels that was not taken."""
        self._put(
            Kind.REJECTION,
            topics.deploy_models_rejected(simulator, simulation),
            lifecycle.deploy_models_rejected(rejected),
            simulation,
        )

    def _put(
        self,
        kind: Kind,
        topic: str,
        payload: bytes,
        simulation: SimulationId,
        *,
        run: RunKey | None = None,
        about: str = "",
        held: bool = False,
    ) -> int:
        row = Row(next(self._numbers), kind, simulation, topic, payload, run, about, held)
        self._write([RowPut(row)], partial(self._post, row))
        return row.number

    def _post(self, row: Row) -> None:
        self._outbox.put(row)
        self._empty.clear()
        self._wake.set()

    # -- out ------------------------------------------------------------------------------------------------------

    async def send(self) -> None:
        """Loop: hand over what may go, in order, and let it go on PUBACK."""
        seen = 0
        while True:
            connection = await self._broker.connected()
            if connection.number != seen:
                seen = connection.number
                if not connection.session_present:
                    await self._tell_again()
                continue  # it may be another one by now
            self._wake.clear()
            with self._step("send"):
                self._send_what_may_go()
            await self._wake.wait()

    async def notice_connections(self) -> None:
        """Loop: a connection is a reason to look, also where nothing waits to be sent."""
        seen = 0
        while True:
            seen = (await self._broker.connected(after=seen)).number
            self._wake.set()

    def _send_what_may_go(self) -> None:
        while self._in_flight < WINDOW and (row := self._outbox.take()):
            if row.kind is Kind.MODELS_READY:
                self._announce(row)
                continue
            try:
                acknowledged = self._broker.publish(row.topic, row.payload)
            except ConnectionLost:
                self._outbox.lost(row)
                self._wake.set()
                return
            reached("send.after-send")
            self._in_flight += 1
            acknowledged.add_done_callback(partial(self._note_outcome, row))

    def _note_outcome(self, row: Row, acknowledged: asyncio.Future[None]) -> None:
        self._outcomes.put_nowait((row, acknowledged))

    async def settle(self) -> None:
        """Loop: what became of each row that was sent. No callback does it: what one raises ends nothing."""
        while True:
            self._settle(*await self._outcomes.get())

    def _settle(self, row: Row, acknowledged: asyncio.Future[None]) -> None:
        self._in_flight -= 1
        error = ConnectionLost() if acknowledged.cancelled() else acknowledged.exception()
        if isinstance(error, ConnectionLost):
            self._outbox.lost(row)
            self._wake.set()
            return
        reached("send.after-acknowledge")
        self.done(row, error)

    def done(self, row: Row, error: BaseException | None = None, *, withheld: bool = False) -> None:
        """Nothing is left to do about the row: the broker has it; or it can never go, or must not."""
        self._outbox.done(row)
        self._write([RowDone(row.number, withheld=withheld)], None)
        if error:
            log.error("message.unsendable", simulation=row.simulation, topic=row.topic[:200], why=str(error))
        elif not withheld:
            self._sent(row)
        if row.kind is Kind.ALL_TERMINATED and row.run:
            self._inventory.reported(row.run)
        if not self._outbox:
            self._empty.set()
        self._wake.set()

    def _sent(self, row: Row) -> None:
        self._metrics.sent(row.kind)
        if row.kind is Kind.TERMINATION:
            log.info("termination.sent", simulation=row.simulation, run=row.run and row.run.run, model=row.about)

    async def _tell_again(self) -> None:
        """A broker that does not know our session has lost what it was told of ends: tell it again, before all else.

        Only of the last run of a simulation: the end of an earlier one would be taken for that of the present one.
        """
        last: dict[SimulationId, RunKey] = {}
        told: defaultdict[RunKey, list[Row]] = defaultdict(list)
        for row in await self._what_was_told():
            if row.run:
                newest = self._inventory.newest_run(row.simulation)
                last[row.simulation] = max(last.get(row.simulation, row.run), newest.key if newest else row.run)
                told[row.run].append(row)
        again: list[Row] = []
        for run in last.values():
            again += told[run]
            # Whoever is told the last word of a run is to have heard all the others.
            if told[run] and (last_word := self._outbox.withdraw(Kind.ALL_TERMINATED, run)):
                again.append(last_word)
        if again:
            log.warning(
                "broker.forgot",
                told_again=len(again),
                hint="the broker does not know this service any more; let it save what it holds (persistence)",
            )
        for row in again:
            self._write([RowDone(row.number)], None)
            self._put(row.kind, row.topic, row.payload, row.simulation, run=row.run, about=row.about)

    async def _what_was_told(self) -> Sequence[Row]:
        def tell(error: LedgerError, pause: float) -> None:
            log.warning("ledger.unread", why=str(error), seconds=round(pause, 1))

        return await persist(lambda: self._told(datetime.now(UTC) - TOLD_AGAIN), LedgerError, tell)

    async def emptied(self) -> None:
        """Wait until nothing is waiting to be sent."""
        await self._empty.wait()


def _is_failure(model: Model) -> bool:
    """Whether something went wrong: what was stopped did not fail of its own."""
    return model.state is State.FAILED and model.reason is not Reason.STOPPED
