"""The service: every loop in one TaskGroup, over the edges that the configuration asks for (mso/edges.py).

If one loop dies, all stop and the error travels up: restart, not threads, is the answer to the unknown error.
"""

import asyncio
from collections.abc import Coroutine, Iterable
from contextlib import AsyncExitStack
from datetime import timedelta

import structlog

from mso import __version__
from mso.aside import Aside
from mso.changes import Observer
from mso.config import Config
from mso.edges import (
    build_absentee,
    build_backplane,
    build_broker,
    build_lease,
    build_ledger,
    build_witness,
    served_simulators,
)
from mso.intake import Intake
from mso.inventory import Inventory
from mso.ledger import Noted
from mso.observers.announce import Announcer
from mso.observers.metrics import Metrics
from mso.observers.narrate import narrate
from mso.observers.post_mortem import PostMortem
from mso.observers.report import Report
from mso.orchestrator import Limits, Orchestrator
from mso.outbox import Outbox
from mso.pulse import Pulse
from mso.record import Record
from mso.recovery import restore
from mso.supervision import surface

log = structlog.get_logger()

RELEASE_NOTE = "release"
"""Under which the ledger says which release used it last."""
HAND_OVER_SECONDS = 5.0
"""How long a shutdown waits for what is still to be deployed and to be sent."""


class Service:
    """One MSO. Whoever brings the inventory may observe it."""

    def __init__(self, config: Config, inventory: Inventory | None = None) -> None:
        self._config = config
        self._simulators = served_simulators(config)
        self._lease = build_lease(config)
        self._ledger = build_ledger(config)
        self._backplane = build_backplane(config, lambda *answer: self._metrics.answered(*answer))
        self._broker = build_broker(config, self._lease.confirm)
        self._outbox = Outbox()
        self._pulse = Pulse()
        self._stopping = asyncio.Event()
        self._not_yet = "it is not yet known whether another one is active"
        """Why it does not serve yet; empty once its edges can be asked how they do."""
        max_active = config.max_active_pods or None
        self._inventory = inventory or Inventory(max_models=max_active)
        self._metrics = Metrics(self._inventory, self._outbox)
        self._metrics.waiting = lambda: self._orchestrator.deployment.waiting
        self._metrics.broker_connected = lambda: self._broker.connection is not None
        self._post_mortem = PostMortem(
            self._backplane,
            step=self._pulse.step,
            release=lambda *found: self._report.release(*found),
            examined=lambda *found: self._orchestrator.examined(*found),
        )
        self._record = Record(
            self._inventory,
            self._ledger,
            then=(self._post_mortem.observe, lambda change: self._orchestrator.observe(change)),
            step=self._pulse.step,
            failed=self._metrics.commit_failed,
        )
        self._orchestrator = Orchestrator(
            self._inventory,
            self._backplane,
            Limits(
                deploy_concurrency=config.deploy_concurrency,
                deploy_timeout=timedelta(seconds=config.deploy_timeout_seconds),
                ready_timeout=timedelta(seconds=config.ready_timeout_seconds) or None,
                stop_grace=timedelta(seconds=config.stop_grace_seconds),
                max_active=max_active,
            ),
            step=self._pulse.step,
            write=self._record.write,
            deployed=self._metrics.deployed,
            listed=self._metrics.note_listing,
            settled=self._post_mortem.settled,
        )
        self._witness = build_witness(config, self._lease.confirm, self._broker)
        self._absentee = build_absentee(config, self._lease.confirm)
        self._announcer = Announcer(
            self._broker,
            self._witness,
            mark=self._orchestrator.mark,
            written=self._record.written,
            done=lambda *outcome, **more: self._report.done(*outcome, **more),
        )
        self._report = Report(
            self._inventory,
            self._broker,
            self._outbox,
            self._metrics,
            step=self._pulse.step,
            write=self._record.write,
            announce=self._announcer.announce,
            told=self._ledger.told,
            send_error_occurred=config.send_error_occurred,
        )
        self._intake = Intake(
            self._inventory,
            self._simulators,
            self._backplane.capabilities,
            Aside(config.state_dir / "aside"),
            max_message_bytes=config.max_message_bytes,
            reject=self._report.reject,
            write=self._record.write,
            flowing=self._record.flowing,
            refused=self._metrics.refused,
            step=self._pulse.step,
        )
        observers: Iterable[Observer] = (narrate, self._metrics.observe, self._report.observe, self._record.observe)
        for observer in observers:
            self._inventory.subscribe(observer)

    def stop(self) -> None:
        """Ask for a clean end (SIGTERM, SIGINT): models are left running."""
        self._stopping.set()

    async def run(self) -> None:
        """Serve until `stop`. Raises an ExceptionGroup when a loop died.

        Raises BackplaneError, LedgerError and UnusableLedgerError when there is no beginning.
        """
        log.info("service.starting", version=__version__, **self._config.shown())
        async with AsyncExitStack() as edges:
            if self._config.http_port:
                await edges.enter_async_context(
                    surface(self._config.http_port, livez=self._livez, readyz=self._readyz, metrics=self._measured)
                )
            await edges.enter_async_context(self._lease)
            if await self._is_stopped_before(self._lease.acquire(self._wait_for)):
                log.info("service.stopped")
                return
            await edges.enter_async_context(self._ledger)
            await self._ledger.claim()
            await edges.enter_async_context(self._backplane)
            self._not_yet = ""
            await self._resume()
            await edges.enter_async_context(self._broker)
            await edges.enter_async_context(self._witness)
            await self._serve()
        log.info("service.stopped")

    def _wait_for(self, holder: str) -> None:
        self._not_yet = f"standby: {holder} is active"
        self._metrics.standby = True
        log.info("service.standby", active=holder)

    async def _is_stopped_before(self, waiting: Coroutine[None, None, None]) -> bool:
        """Wait for one or the other; whether it was `stop`."""
        waiter, stopper = asyncio.create_task(waiting), asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait((waiter, stopper), return_when=asyncio.FIRST_COMPLETED)
            if waiter.done():
                self._not_yet = "it is active, and begins: ledger and backplane are being opened"
                self._metrics.standby = False
                waiter.result()
            return not waiter.done()
        finally:
            for task in (waiter, stopper):
                task.cancel()
            await asyncio.wait((waiter, stopper))

    async def _resume(self) -> None:
        """Know again what an earlier process knew."""
        recovered = await self._ledger.recover()
        log.info(
            "ledger.opened",
            runs=len(recovered.runs),
            waiting_to_be_sent=len(recovered.rows),
            last_used_by=recovered.notes.get(RELEASE_NOTE, ""),
        )
        if recovered.notes.get(RELEASE_NOTE) != __version__:
            self._record.write([Noted(RELEASE_NOTE, __version__)])
        deployed = restore(self._inventory, recovered)
        self._orchestrator.resume(deployed)
        self._announcer.resume(recovered.rows)
        for model in self._report.resume(recovered.rows, recovered.last_row):
            self._post_mortem.again(model)

    async def _serve(self) -> None:
        async with asyncio.TaskGroup() as group:
            loops = [
                group.create_task(loop, name=name)
                for name, loop in {
                    "keep-lease": self._lease.keep(),
                    "measure-lag": self._metrics.measure_lag(),
                    "record": self._record.keep(),
                    "prune-history": self._record.prune_history(timedelta(days=self._config.history_days)),
                    "watch-models": self._orchestrator.watch_models(),
                    "take-orders": self._intake.take_orders(self._broker, self._orchestrator.recovered.wait),
                    "deploy-models": self._orchestrator.deployment.deploy_models(),
                    "sweep-expired": self._orchestrator.sweep_expired(),
                    "do-chores": self._orchestrator.do_chores(),
                    "post-mortem": self._post_mortem.run(),
                    "witness": self._witness.watch(),
                    "absentee": self._absentee.keep_away(),
                    "announce": self._announcer.run(),
                    "send": self._report.send(),
                    "settle": self._report.settle(),
                    "notice-connections": self._report.notice_connections(),
                }.items()
            ]
            await self._stopping.wait()
            await self._hand_over()
            for loop in loops:
                loop.cancel()

    async def _hand_over(self) -> None:
        log.info("service.stopping", waiting_to_be_sent=len(self._outbox))
        await self._broker.stop_intake()
        try:
            async with asyncio.timeout(HAND_OVER_SECONDS):
                await self._record.flushed()
                await self._orchestrator.deployment.all_deployed()
                await self._record.flushed()
                await self._report.emptied()
                await self._record.flushed()
        except TimeoutError:
            log.warning(
                "service.left_undone",
                waiting_to_be_sent=len(self._outbox),
                waiting_to_be_deployed=self._orchestrator.deployment.undeployed,
                hint="it is in the ledger, and the next start goes on with it",
            )

    async def _livez(self) -> tuple[str, ...]:
        return tuple(f"loop {loop} does not turn" for loop in self._pulse.stalled())

    async def _readyz(self) -> tuple[str, ...]:
        if self._not_yet:
            return (self._not_yet,)
        wrong = list(await self._backplane.health())
        if self._broker.connection is None:
            wrong.append("the broker is not connected")
        if not self._orchestrator.recovered.is_set():
            wrong.append("what runs has not been listed yet")
        wrong += [trouble for trouble in (self._record.trouble, self._witness.trouble()) if trouble]
        return tuple(wrong)

    async def _measured(self) -> bytes:
        self._metrics.ready = not await self._readyz()
        return self._metrics.exposition()
