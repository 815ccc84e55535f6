"""A post-mortem with all that it needs, over logs that can be read when the test says so."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any

from mso.backplane import BackplaneError
from mso.inventory import Inventory
from mso.model import Attempt, Failed, ModelKey, ModelSpec, SimulationId
from mso.observers.post_mortem import PostMortem
from tests.builders import SIM, order
from tests.fakes.backplane import FakeBackplane
from tests.happening import Happening, running


class Logs(FakeBackplane):
    """Where models write what the test says; a log that it has shut shows itself when it is opened."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[Attempt] = []
        self._gates: dict[Attempt, asyncio.Event] = {}
        self.bug: Exception | None = None

        self.no_warnings: BackplaneError | asyncio.Event | None = None
        """What comes of asking for warnings: an error, or nothing until then."""

    def shut(self, attempt: Attempt) -> asyncio.Event:
        return self._gates.setdefault(attempt, asyncio.Event())

    async def tail(self, attempt: Attempt, lines: int) -> tuple[str, ...]:
        self.asked.append(attempt)
        if gate := self._gates.get(attempt):
            await gate.wait()
        if self.bug:
            raise self.bug
        return await super().tail(attempt, lines)

    async def warnings(self, attempt: Attempt) -> tuple[str, ...]:
        if isinstance(self.no_warnings, BackplaneError):
            raise self.no_warnings
        if self.no_warnings:
            await self.no_warnings.wait()
        return await super().warnings(attempt)


class Examination:
    """A post-mortem with all that it needs."""

    def __init__(self) -> None:
        self._happening = Happening()
        self.until = self._happening.until
        self.logs = Logs()
        self.released: list[tuple[ModelKey, tuple[str, ...], tuple[str, ...]]] = []
        self.examined: list[tuple[Attempt, Failed]] = []
        self.inventory = Inventory()
        self.post_mortem = PostMortem(
            self.logs,
            step=lambda _: nullcontext(),
            release=self._note(self.released),
            examined=self._note(self.examined),
        )
        self.inventory.subscribe(self.post_mortem.observe)

    def going_on(self) -> AbstractAsyncContextManager[None]:
        """The loop turns."""
        return running(self.post_mortem.run())

    async def ask(self, *models: str | ModelSpec, simulation: str = SIM) -> None:
        """These run."""
        self.inventory.add(order(*models, simulation=simulation))
        run = self.inventory.newest_run(SimulationId(simulation))
        assert run
        for model in run.models.values():
            await self.logs.deploy(model)

    def fail(self, about: Attempt, failed: Failed, log: bytes = b"") -> None:
        """It writes this and fails like that."""
        self.logs.world.say(about, log)
        self.inventory.apply(about, failed)

    def _note(self, where: list[Any]) -> Callable[..., None]:
        def note(*what: Any) -> None:
            where.append(what)
            self._happening.tell()

        return note
