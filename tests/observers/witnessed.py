"""Handing over a ModelsReady before a witness: how it is done, and a process that does it over a broker in memory."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from mso.broker import Broker, ConnectionLost
from mso.model import SimulatorName
from mso.observers.witness import Verdict, Witness
from mso.protocol import topics
from tests.fakes.exchange import Client, Exchange, Link
from tests.happening import PATIENCE_SECONDS, calm

T = TypeVar("T")
TOPIC, OTHER = "/lifecycle/mso/so/sim-1/ModelsReady", "/lifecycle/mso/so/sim-2/ModelsReady"
NONCE = topics.nonce("mso")
FILTERS = topics.witness_filters((SimulatorName("so"),), "mso")


@dataclass(eq=False)
class Row:
    """A ModelsReady as a ledger has it. On the wire there is no payload, so the witness must not look at it."""

    topic: str
    payload: bytes = b""
    token: str = ""
    done: bool = False
    withheld: bool = False


async def send(
    row: Row, main: Broker, witness: Witness, commit: Callable[[Callable[[], None]], Awaitable[None]]
) -> None:
    """As it has to be done, whatever happened to the row before. `commit` makes an entry durable.

    What was committed holds for the connection that was there before: whoever was deposed since has lost that one, for
    its successor connected under the same client id.
    """
    while not row.done:
        if row.token and (verdict := await witness.verdict(row.topic, row.token)) is not Verdict.NOT_SEEN:
            await commit(partial(_be_done, row, withheld=verdict is Verdict.LOST))
            break
        token = row.token or await witness.clear(row.topic)
        connection = await main.connected()
        await commit(partial(setattr, row, "token", token))
        if main.connection is connection:
            with suppress(ConnectionLost):
                await main.publish(row.topic, row.payload)
                await commit(partial(_be_done, row))
    witness.settled(row.topic, row.token)


def _be_done(row: Row, *, withheld: bool = False) -> None:
    row.done, row.withheld = True, withheld


class Mso:
    """One life of it. Nothing of what is said moves but in `flow` and `when`, and what a test moves itself."""

    def __init__(self, exchange: Exchange, late_seconds: float) -> None:
        self.exchange = exchange
        self.main = Client(exchange, "mso")
        self.session = Client(exchange, "mso-witness", FILTERS)
        self.witness = Witness(self.session, self.main, NONCE, late_seconds=late_seconds)

    def connect(self) -> None:
        self.main.connect()
        self.session.connect()

    async def flow(self) -> None:
        """Until nothing moves any more."""
        await calm()
        while moves := self.exchange.moves:
            moves[0].popleft()()
            await calm()

    async def when(self, *calls: Awaitable[T]) -> list[T]:
        """What the calls return while everything flows."""
        tasks = [asyncio.ensure_future(call) for call in calls]
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not all(task.done() for task in tasks):
                await self.flow()
                await asyncio.wait(tasks, timeout=0.001)
        return [task.result() for task in tasks]

    async def clear(self, topic: str = TOPIC) -> str:
        (token,) = await self.when(self.witness.clear(topic))
        return token

    async def verdict(self, token: str, topic: str = TOPIC) -> Verdict:
        (verdict,) = await self.when(self.witness.verdict(topic, token))
        return verdict

    def hand_over(self, topic: str = TOPIC) -> Link:
        """The connection that it is on."""
        self.main.publish(topic, b"").add_done_callback(lambda done: done.exception())
        assert self.main.link
        return self.main.link

    def hand_over_and_break(self, topic: str = TOPIC, *, processed: bool) -> None:
        """The connection ends before PUBACK is heard."""
        link = self.hand_over(topic)
        if processed:
            link.up.popleft()()
        self.main.reset()


@asynccontextmanager
async def process(exchange: Exchange, token: str = "", *, late_seconds: float = 0) -> AsyncIterator[Mso]:
    """`token`: that under which an earlier process handed over TOPIC, as far as anybody noted."""
    mso = Mso(exchange, late_seconds)
    if token:
        mso.witness.expect(TOPIC, token)
    async with mso.witness:
        watch = asyncio.create_task(mso.witness.watch())
        yield mso
        watch.cancel()
        mso.main.lose()
        mso.session.lose()
