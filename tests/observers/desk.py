"""A report with all that it needs, over a broker that is there, and acknowledges, when the test says so."""

import asyncio
from contextlib import AbstractAsyncContextManager, nullcontext

from mso.inventory import Inventory
from mso.model import Mark, ModelSpec, Ready, RunKey, Succeeded
from mso.observers.metrics import Metrics
from mso.observers.report import Report
from mso.outbox import Outbox
from mso.protocol.messages import lifecycle_pb2
from tests.builders import SIM, attempt, crash, order
from tests.fakes.broker import FakeBroker, Sent
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
        self.asked_to_mark: list[tuple[RunKey, Mark]] = []
        self.may_mark = asyncio.Event()
        self.may_mark.set()
        self.reported: list[RunKey] = []
        self.report = Report(
            self.broker,
            self.outbox,
            self.metrics,
            step=lambda _: nullcontext(),
            mark=self._mark,
            reported=self.reported.append,
            send_error_occurred=send_error_occurred,
        )
        self.inventory.subscribe(self.report.observe)

    def open(self) -> AbstractAsyncContextManager[None]:
        """Every loop turns."""
        return running(self.report.send(), self.report.mark_runs())

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

    async def _mark(self, run: RunKey, mark: Mark) -> None:
        self.asked_to_mark.append((run, mark))
        await self.may_mark.wait()


def terminated(sent: Sent) -> lifecycle_pb2.ModelHasTerminated:
    assert sent.topic.endswith("/ModelHasTerminated")
    return lifecycle_pb2.ModelHasTerminated.FromString(sent.payload)
