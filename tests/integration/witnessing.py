"""The witness over real brokers, and a simulation orchestrator that knows the truth."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from mso.broker import ConnectionLost
from mso.broker.mqtt import MqttBroker
from mso.observers.witness import Absentee, Verdict, Witness
from tests.mqtt import PATIENCE, Reachable, connected, receive, settings
from tests.observers.witnessed import FILTERS, NONCE, Row

END = "/lifecycle/mso/so/the/end"

Copies = defaultdict[str, set[bytes]]
"""What went out, by topic."""


class Numbered(MqttBroker):
    """What it publishes can be told apart, which a ModelsReady cannot: each has another payload."""

    _published = 0

    def publish(self, topic: str, payload: bytes) -> "asyncio.Future[None]":
        self._published += 1
        return super().publish(topic, payload if topic == NONCE else f"copy {self._published:04}".encode())


@dataclass
class Mso:
    """The two connections and the witness, as the service has them. The absentee has been there and is away."""

    main: MqttBroker
    session: MqttBroker
    witness: Witness


@asynccontextmanager
async def running(broker: Reachable, *rows: Row, port: int = 0, late_seconds: float = 0) -> AsyncIterator[Mso]:
    """`rows`: those that are outstanding. `port`: another way to the broker for what is published."""
    main = Numbered(replace(settings(broker), port=port or broker.port))
    session = MqttBroker(settings(broker, "mso-witness", filters=FILTERS))
    witness = Witness(session, main, NONCE, late_seconds=late_seconds)
    for row in rows:
        witness.expect(row.topic, row.token)
    await Absentee(lambda: MqttBroker(settings(broker, "mso-absentee", filters=FILTERS)), NONCE).visit()
    async with main, witness:
        watch = asyncio.create_task(witness.watch())
        async with asyncio.timeout(4 * PATIENCE):
            yield Mso(main, session, witness)
        watch.cancel()


@asynccontextmanager
async def an_so(broker: Reachable) -> AsyncIterator[Callable[[], "asyncio.Task[Copies]"]]:
    """A simulation orchestrator with a persistent session; what went out to it, when it is asked."""
    async with connected(broker, "so", filters=("/lifecycle/mso/so/#",)) as so:
        copies: Copies = defaultdict(set)

        async def hear() -> Copies:
            while True:
                try:
                    await so.connected()
                    await so.publish(END, b"")
                    break
                except ConnectionLost:
                    continue
            while (message := (await receive(so))[0]).topic != END:
                message.acknowledge()
                copies[message.topic].add(message.payload)  # a broker may send again what was acknowledged
            message.acknowledge()
            return copies

        yield lambda: asyncio.create_task(hear())


def truth(copies: set[bytes]) -> Verdict:
    """What the verdict must be on a row of which this went out."""
    assert len(copies) <= 1
    return Verdict.SEEN if copies else Verdict.NOT_SEEN
