"""A report with all that it needs, over a broker that is there, and acknowledges, when the test says so."""

import asyncio
from contextlib import AbstractAsyncContextManager, nullcontext
from datetime import datetime

from mso.changes import Change, SimulationReported
from mso.inventory import Inventory
from mso.ledger import LedgerError
from mso.model import Mark, ModelSpec, Ready, RunKey, Succeeded
from mso.observers.announce import Announcer
from mso.observers.metrics import Metrics
from mso.observers.report import Report
from mso.outbox import Outbox, Row
from mso.protocol.messages import lifecycle_pb2
from tests.builders import SIM, attempt, crash, order
from tests.fakes.broker import FakeBroker, Sent
from tests.fakes.record import FakeRecord
from tests.fakes.witness import FakeWitness
from tests.happening import Happening, running


class Desk:
    """A report with all that it needs. Marks are written once `may_mark` is set."""

    def __init__(self, broker: FakeBroker | None = None, *, send_error_occurred: bool = False) -> None:
        self.broker = broker or FakeBroker()
        self._happening = Happening()
        self.broker.heard = self._happening.tell
        self.until = self._happening.until
        self.inventory = Inventory()
        self.outbox = Outbox()
        self.metrics = Metrics(self.inventory, self.outbox)
        self.record = FakeRecord()
        self.witness = FakeWitness(self.broker)
        self.asked_to_mark: list[tuple[RunKey, Mark]] = []
        self.may_mark = asyncio.Event()
        self.may_mark.set()
        self.told: list[Row] = []
        """What the ledger answers to what was told of ends."""
        self.unreadable: list[LedgerError] = []
        """What it answers first, one each."""
        self.asked_since: list[datetime] = []
        self.changes: list[Change] = []
        self.announcer = Announcer(
            self.broker,
            self.witness,
            mark=self._mark,
            written=self.record.written,
            done=lambda *outcome, **more: self.report.done(*outcome, **more),
        )
        self.report = Report(
            self.inventory,
            self.broker,
            self.outbox,
            self.metrics,
            step=lambda _: nullcontext(),
            write=self.record.write,
            announce=self.announcer.announce,
            told=self._what_was_told,
            send_error_occurred=send_error_occurred,
        )
        self.inventory.subscribe(self.report.observe)
        self.inventory.subscribe(self.changes.append)

    def open(self) -> AbstractAsyncContextManager[None]:
        """Every loop turns."""
        return running(self.report.send(), self.announcer.run(), self.report.settle(), self.report.notice_connections())

    def ask(self, *models: str | ModelSpec, version: int = 1, simulation: str = SIM) -> None:
        self.inventory.add(order(*models, simulation=simulation, protocol_version=version))

    def make_ready(self, *models: str) -> None:
        for model in models:
            self.inventory.apply(attempt(model), Ready())

    def end(self, *models: str) -> None:
        for model in models:
            self.inventory.apply(attempt(model), Succeeded())

    def fail(self, model: str = "m-0", exit_code: int = 3) -> None:
        self.inventory.apply(attempt(model), crash(exit_code))

    @property
    def heard(self) -> list[str]:
        """What was sent, in short."""
        return self.broker.names

    @property
    def reported(self) -> list[RunKey]:
        """Of which runs there is nothing more to tell."""
        return [change.run for change in self.changes if isinstance(change, SimulationReported)]

    async def _mark(self, run: RunKey, mark: Mark) -> None:
        self.asked_to_mark.append((run, mark))
        await self.may_mark.wait()

    async def _what_was_told(self, since: datetime) -> tuple[Row, ...]:
        self.asked_since.append(since)
        self._happening.tell()
        if self.unreadable:
            raise self.unreadable.pop(0)
        return tuple(self.told)


def terminated(sent: Sent) -> lifecycle_pb2.ModelHasTerminated:
    assert sent.topic.endswith("/ModelHasTerminated")
    return lifecycle_pb2.ModelHasTerminated.FromString(sent.payload)
