"""The intake: messages in order of arrival, each taken, refused with its reason, or put aside; then acknowledged.

An acknowledgement goes out when all that the message changed is durable, in the order in which the messages came. A
message is the only thing that may fail alone. No payload and no value of one is ever logged: a DeployModels carries
the passwords of broker and database.
"""

import asyncio
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import TypeVar

import structlog

from mso.aside import Aside
from mso.broker import Broker, Message
from mso.crash import reached
from mso.inventory import Inventory, ObserverFailed, Rejected
from mso.ledger import Entry
from mso.model import Capabilities, Ready, SimulationId, SimulatorName
from mso.protocol import lifecycle, topics

log = structlog.get_logger()
T = TypeVar("T")


class _Refused(Exception):
    """The message is not acted on. `kind` is a word of a small set, for it becomes a label of a metric."""

    def __init__(self, kind: str, why: str) -> None:
        super().__init__(why)
        self.kind = kind


class Intake:
    """Turns messages into facts of the inventory.

    `reject` answers an order that is not taken, `write` calls back when all that was said before is durable, `flowing`
    returns when things can be written down (mso.record), `refused` counts what is not acted on.
    """

    def __init__(
        self,
        inventory: Inventory,
        simulators: tuple[SimulatorName, ...],
        capabilities: Capabilities,
        aside: Aside,
        *,
        max_message_bytes: int,
        reject: Callable[[SimulatorName, SimulationId, Rejected], None],
        write: Callable[[Sequence[Entry], Callable[[], None]], None],
        flowing: Callable[[], Awaitable[None]],
        refused: Callable[[str], None],
        step: Callable[[str], AbstractContextManager[None]],
    ) -> None:
        self._inventory = inventory
        self._simulators = frozenset(simulators)
        self._capabilities = capabilities
        self._aside = aside
        self._max_message_bytes = max_message_bytes
        self._reject = reject
        self._write = write
        self._flowing = flowing
        self._count_refused = refused
        self._step = step

    async def take_orders(self, broker: Broker, recovered: Callable[[], Awaitable[object]]) -> None:
        """Loop. Nothing is taken before it is known what runs: nobody is told too early that a run is unknown."""
        await recovered()
        async for message in broker.messages():
            await self._flowing()
            with self._step("take-orders"):
                await self.handle(message)

    async def handle(self, message: Message) -> None:
        """Act on one message, and acknowledge it when that is durable.

        Raises ObserverFailed, which is no fault of the message.
        """
        try:
            await self._take(message)
        except _Refused as refused:
            self._count_refused(refused.kind)
            log.warning("message.refused", topic=message.topic, bytes=len(message.payload), why=str(refused))
        except ObserverFailed:
            raise
        except Exception:
            self._count_refused("handler_raised")
            kept = await self._aside.keep(message.topic, message.payload)
            log.exception("message.put_aside", topic=message.topic, bytes=len(message.payload), kept=kept)
        self._write((), partial(_acknowledge, message))

    async def _take(self, message: Message) -> None:
        try:
            address = topics.parse(message.topic)
        except topics.MalformedTopic as exc:
            raise _Refused("malformed_topic", "no topic that this service acts on") from exc
        if message.retained:
            # It would come back at every reconnection. Who sent it meant it for a moment that is past.
            raise _Refused("retained", "a command must not be retained: clear it with an empty retained message")
        match address:
            case topics.DeployModels():
                await self._deploy_models(address, message)
            case topics.SimulationDone():
                self._simulation_done(address, message)
            case topics.ReadyForProcessing():
                self._ready(address, message)

    async def _deploy_models(self, address: topics.DeployModels, message: Message) -> None:
        self._check_simulator(address.simulator)
        try:
            decoded = await self._decode(address, message)
            for warning in decoded.warnings:
                log.warning("order.adjusted", simulation=address.simulation, simulator=address.simulator, what=warning)
                self._count_refused("adjusted")
            if self._inventory.add(decoded.order) is None:
                log.info("order.unchanged", simulation=address.simulation, simulator=address.simulator)
        except Rejected as rejected:
            self._reject(address.simulator, address.simulation, rejected)
            errors = "; ".join(rejected.errors[:10])
            raise _Refused("rejected", f"{rejected.reason}: {errors}" if errors else rejected.reason) from rejected

    async def _decode(self, address: topics.DeployModels, message: Message) -> lifecycle.Decoded:
        if len(message.payload) > self._max_message_bytes:
            raise Rejected(
                "the message is too large",
                [f"{len(message.payload)} bytes are more than MSO_MAX_MESSAGE_BYTES, {self._max_message_bytes}"],
            )
        try:
            return await _in_slices(
                lifecycle.decoding(
                    address,
                    message.payload,
                    redelivered=message.redelivered,
                    delivery=message.packet,
                    capabilities=self._capabilities,
                )
            )
        except lifecycle.Undecodable as exc:
            raise Rejected("the message cannot be read", [str(exc)]) from exc

    def _simulation_done(self, address: topics.SimulationDone, message: Message) -> None:
        self._check_simulator(address.simulator)
        self._check_payload(lifecycle.check_simulation_done, message)
        run = self._inventory.newest_run(address.simulation)
        if run is None:
            raise _Refused("unknown_simulation", f"no simulation {address.simulation!r} is known")
        if run.request.simulator != address.simulator:
            raise _Refused("foreign_simulation", f"simulation {address.simulation!r} is not of {address.simulator!r}")
        if run.ended_at is None and not run.stopping:
            self._inventory.stop(run.key, "its simulation orchestrator said SimulationDone")

    def _ready(self, address: topics.ReadyForProcessing, message: Message) -> None:
        self._check_payload(lifecycle.check_ready_for_processing, message)
        run = self._inventory.newest_run(address.simulation)
        model = run.models.get(address.model) if run else None
        if model is None:
            raise _Refused(
                "unknown_model", f"no model {address.model!r} of a simulation {address.simulation!r} is known"
            )
        self._inventory.apply(model.current, Ready())

    def _check_simulator(self, simulator: SimulatorName) -> None:
        if simulator not in self._simulators:
            raise _Refused("unknown_simulator", f"simulator {simulator!r} is not served here")

    def _check_payload(self, check: Callable[[bytes], None], message: Message) -> None:
        if len(message.payload) > self._max_message_bytes:
            raise _Refused("too_large", "the message is larger than MSO_MAX_MESSAGE_BYTES")
        try:
            check(message.payload)
        except lifecycle.Undecodable as exc:
            raise _Refused("undecodable", str(exc)) from exc


def _acknowledge(message: Message) -> None:
    reached("intake.before-acknowledge")
    message.acknowledge()


async def _in_slices(work: Generator[None, None, T]) -> T:
    """Long work, with room in between for whatever else there is to do."""
    while True:
        try:
            next(work)
        except StopIteration as done:
            result: T = done.value
            return result
        await asyncio.sleep(0)
