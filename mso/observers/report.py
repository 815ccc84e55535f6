"""Report: what the simulation orchestrator must hear, from Change to PUBACK. The outbox keeps the order.

Only this loop sends, and only it sends again. A ModelsReady of which it is not known whether it went out is never sent
again: a second one does more harm than none (docs/protocol.md, *What peers in the field do*).
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from functools import partial

import structlog

from mso.broker import Broker, ConnectionLost
from mso.changes import Change, ModelChanged, SimulationEnded, SimulationReady
from mso.inventory import Rejected
from mso.model import Mark, Model, ModelKey, Reason, RunKey, SimulationId, SimulatorName, State
from mso.observers.metrics import Metrics
from mso.outbox import Kind, Outbox, Row
from mso.protocol import lifecycle, topics

log = structlog.get_logger()

WINDOW = 200
"""Rows that may be on their way to the broker at once."""


class Report:
    """Observer and loops: `observe` fills the outbox, `send` empties it, `mark_runs` writes down what must be known."""

    def __init__(
        self,
        broker: Broker,
        outbox: Outbox,
        metrics: Metrics,
        *,
        step: Callable[[str], AbstractContextManager[None]],
        mark: Callable[[RunKey, Mark], Awaitable[None]],
        reported: Callable[[RunKey], None],
        send_error_occurred: bool = False,
    ) -> None:
        self._broker = broker
        self._outbox = outbox
        self._metrics = metrics
        self._step = step
        self._mark = mark
        self._reported = reported
        self._send_error_occurred = send_error_occurred
        self._complained: set[RunKey] = set()
        """Runs of whose first failure the simulation orchestrator was told in the one message that it obeys."""
        self._held: dict[ModelKey, tuple[int, Model]] = {}
        self._to_mark: asyncio.Queue[tuple[RunKey, Mark, int]] = asyncio.Queue()
        self._in_flight = 0
        self._wake = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()

    # -- in -------------------------------------------------------------------------------------------------------

    def observe(self, change: Change) -> None:
        """Put what this Change has to say to the simulation orchestrator into the outbox."""
        match change:
            case ModelChanged(model=model) if model.state.terminal:
                self._terminated(model)
            case SimulationReady(run, request):
                number = self._put(
                    Kind.MODELS_READY,
                    topics.models_ready(request.simulator, run.simulation),
                    lifecycle.models_ready(),
                    run.simulation,
                    run=run,
                    held=True,
                )
                self._to_mark.put_nowait((run, Mark.READY, number))
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
        held = self._held.pop(key, None)
        if held:
            number, model = held
            self._outbox.release(number, lifecycle.model_has_terminated(model, last_lines, warnings))
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
        self._empty.clear()
        self._wake.set()
        return self._outbox.put(kind, simulation, topic, payload, run=run, about=about, held=held)

    # -- out ------------------------------------------------------------------------------------------------------

    async def mark_runs(self) -> None:
        """Loop: what must be known of a run before a message goes, or because one went, is written where it runs."""
        async with asyncio.TaskGroup() as group:
            while True:
                run, mark, number = await self._to_mark.get()
                group.create_task(self._mark_run(run, mark, number), name=f"mark {run} {mark}")

    async def _mark_run(self, run: RunKey, mark: Mark, number: int) -> None:
        await self._mark(run, mark)
        if mark is Mark.READY:
            self._outbox.release(number)
            self._wake.set()
        else:
            self._reported(run)
        self._to_mark.task_done()

    async def send(self) -> None:
        """Loop: hand over what may go, in order, and let it go on PUBACK."""
        while True:
            await self._broker.connected()
            self._wake.clear()
            with self._step("send"):
                self._send_what_may_go()
            await self._wake.wait()

    def _send_what_may_go(self) -> None:
        while self._in_flight < WINDOW and (row := self._outbox.take()):
            try:
                acknowledged = self._broker.publish(row.topic, row.payload)
            except ConnectionLost:
                self._outbox.lost(row)
                self._wake.set()
                return
            self._in_flight += 1
            acknowledged.add_done_callback(partial(self._settle, row))

    def _settle(self, row: Row, acknowledged: asyncio.Future[None]) -> None:
        self._in_flight -= 1
        self._wake.set()
        error = ConnectionLost() if acknowledged.cancelled() else acknowledged.exception()
        if error and not isinstance(error, ConnectionLost):
            log.error("message.unsendable", simulation=row.simulation, topic=row.topic[:200], why=str(error))
            self._outbox.done(row)
        elif error and row.kind is Kind.MODELS_READY:
            log.error(
                "simulation.ready_in_doubt",
                simulation=row.simulation,
                hint="the connection broke before the broker acknowledged ModelsReady, and a second one would do "
                "harm: if the simulation does not begin, stop it and ask for it again",
            )
            self._outbox.done(row)
        elif error:
            self._outbox.lost(row)
        else:
            self._outbox.done(row)
            self._sent(row)
        if not self._outbox:
            self._empty.set()

    def _sent(self, row: Row) -> None:
        self._metrics.sent(row.kind)
        match row.kind:
            case Kind.TERMINATION:
                log.info("termination.sent", simulation=row.simulation, run=row.run and row.run.run, model=row.about)
            case Kind.ALL_TERMINATED if row.run:
                self._to_mark.put_nowait((row.run, Mark.REPORTED, row.number))
            case _:
                pass

    async def emptied(self) -> None:
        """Wait until nothing is waiting to be sent, and what was sent is written down as such."""
        await self._empty.wait()
        await self._to_mark.join()


def _is_failure(model: Model) -> bool:
    """Whether something went wrong: what was stopped did not fail of its own."""
    return model.state is State.FAILED and model.reason is not Reason.STOPPED
