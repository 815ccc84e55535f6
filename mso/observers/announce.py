"""Announce: ModelsReady goes out at most once a run, whatever is killed when.

A second one does more harm than none (docs/protocol.md, *What peers in the field do*). So it is written down that it is
about to go; and where nobody knows whether it went, the witness is asked.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable

import structlog

from mso.broker import Broker, ConnectionLost
from mso.crash import reached
from mso.ledger import RowSent
from mso.model import Mark, RunKey
from mso.observers.witness import Verdict, Witness
from mso.outbox import Kind, Row

log = structlog.get_logger()


AT_ONCE = 8
"""How many are under way at the same time: the witness keeps two messages unacknowledged for each, and a broker lets a
client keep no more than so many (Mosquitto: `max_inflight_messages`, 20)."""


class Announcer:
    """A loop. `mark` writes on a run, `written` returns when it is durable, `done` is told what became of a row."""

    def __init__(
        self,
        broker: Broker,
        witness: Witness,
        *,
        mark: Callable[[RunKey, Mark], Awaitable[None]],
        written: Callable[..., Awaitable[None]],
        done: Callable[..., None],
    ) -> None:
        self._broker = broker
        self._witness = witness
        self._mark = mark
        self._written = written
        self._done = done
        self._rows: asyncio.Queue[Row] = asyncio.Queue()
        self._slots = asyncio.Semaphore(AT_ONCE)

    def resume(self, rows: Iterable[Row]) -> None:
        """Tell the witness what an earlier process had handed over, before it hears anything."""
        for row in rows:
            if row.kind is Kind.MODELS_READY and row.witness:
                self._witness.expect(row.topic, row.witness)

    def announce(self, row: Row) -> None:
        """It is its turn now."""
        self._rows.put_nowait(row)

    async def run(self) -> None:
        """Loop: each in a task of its own; what comes later in its simulation waits for it in the outbox."""
        async with asyncio.TaskGroup() as group:
            while True:
                row = await self._rows.get()
                group.create_task(self._announce(row), name=f"announce {row.run}")

    async def _announce(self, row: Row) -> None:
        assert row.run
        reached("announce.before-mark")
        await self._mark(row.run, Mark.READY)
        async with self._slots:
            await self._send(row, row.run)

    async def _send(self, row: Row, run: RunKey) -> None:
        error: ValueError | None = None
        verdict = Verdict.NOT_SEEN
        while True:
            if row.witness:
                verdict = await self._witness.verdict(row.topic, row.witness)
                if verdict is not Verdict.NOT_SEEN:
                    break
            else:
                row.witness = await self._witness.clear(row.topic)
            connection = await self._broker.connected()
            await self._written(RowSent(row.number, row.witness))
            if self._broker.connection is not connection:
                continue  # who was deposed meanwhile must not send it on a connection that was made since
            reached("announce.before-send")
            try:
                sent = self._broker.publish(row.topic, row.payload)
                reached("announce.after-send")
                await sent
            except ConnectionLost:
                continue
            except ValueError as no_topic:  # it can never go
                error = no_topic
            break
        reached("announce.before-done")
        if verdict is Verdict.LOST:
            log.error(
                "simulation.ready_in_doubt",
                simulation=row.simulation,
                run=run.run,
                hint="ModelsReady may have gone out, and the broker has lost the memory that would tell; a second one "
                f"would do harm. If the simulation does not begin: mso resend-ready {row.simulation}",
            )
        self._done(row, error, withheld=verdict is Verdict.LOST)
        await self._written()
        self._witness.settled(row.topic, row.witness)
