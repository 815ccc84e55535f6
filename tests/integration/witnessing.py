"""The witness over real brokers, and a simulation orchestrator that knows the truth."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from mso.broker import ConnectionLost
from mso.broker.mqtt import MqttBroker
from mso.observers.witness import Absentee, Verdict, Witness
from tests.mqtt import PATIENCE, Reachable, connected, receive, settings
from tests.observers.witnessed import FILTERS, NONCE, Row

END = "/lifecycle/mso/so/the/end"


class Numbered(MqttBroker):
    """What it publishes can be told apart, which a ModelsReady cannot: each has another payload."""

    _published = 0

    def publish(self, topic: str, payload: bytes) -> "asyncio.Future[None]":
        self._published += 1
        return super().publish(topic, payload if topic == NONCE else str(self._published).encode())


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
async def an_so(broker: Reachable) -> AsyncIterator[Callable[[], "asyncio.Task[Counter[str]]"]]:
    """A simulation orchestrator with a persistent session; how often each topic went out to it, when it is asked."""
    async with connected(broker, "so", filters=("/lifecycle/mso/so/#",)) as so:
        different: set[tuple[str, bytes]] = set()

        async def hear() -> Counter[str]:
            while True:
                try:
                    await so.connected()
                    await so.publish(END, b"")
                    break
                except ConnectionLost:
                    continue
            while (message := (await receive(so))[0]).topic != END:
                message.acknowledge()
                different.add((message.topic, message.payload))  # a broker may send again what was acknowledged
            message.acknowledge()
            return Counter(topic for topic, _ in different)

        yield lambda: asyncio.create_task(hear())


def truth(times: int) -> Verdict:
    """What the verdict must be on what went out so many times."""
    assert times in (0, 1)
    return Verdict.SEEN if times else Verdict.NOT_SEEN
