"""Which broker to embed: messages a second at QoS 1 through one publisher and one subscriber, and what is kept.

    .venv/bin/python benchmarks/embedded_broker.py [--messages 2000] [--rounds 3] [--amqtt .../bin/amqtt]

Each broker is started afresh for each round. The publisher keeps 100 messages under way; the subscriber has a kept
session and acknowledges each one. The clock stops at the last acknowledgement of the subscriber. "kept" is whether a
message reached a client that was away, with a persistent session, when it was published. Mosquitto keeps it in memory
only: on disk, the test's own one saves at every change.
"""

import argparse
import asyncio
import contextlib
import logging
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import structlog

from mso.broker.embedded import EmbeddedBroker
from mso.broker.mqtt import MqttBroker, MqttSettings
from tests.mosquitto import Mosquitto, available, free_port

UNDER_WAY = 100
PAYLOAD = bytes(200)
TOPIC = "/lifecycle/model/mso/sim-1/model-1/ReadyForProcessing"


@dataclass(frozen=True)
class Address:
    host: str
    port: int
    username: str = ""
    password: str = ""


@contextlib.asynccontextmanager
async def embedded(directory: Path) -> AsyncIterator[Address]:
    async with EmbeddedBroker(directory) as broker:
        yield Address(broker.host, broker.port, broker.username, broker.password)


@contextlib.asynccontextmanager
async def mosquitto(directory: Path) -> AsyncIterator[Address]:
    with Mosquitto(directory, persistence=False) as broker:
        yield Address(broker.host, broker.port, broker.username, broker.password)


@contextlib.asynccontextmanager
async def amqtt(executable: str, directory: Path) -> AsyncIterator[Address]:
    port = free_port()
    config = directory / "amqtt.yaml"
    config.write_text(f"listeners: {{default: {{type: tcp, bind: '127.0.0.1:{port}'}}}}\n")
    with (directory / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(executable, "-c", config, stdout=log, stderr=log)
    try:
        yield Address("127.0.0.1", port)
    finally:
        process.terminate()
        await process.wait()


@contextlib.asynccontextmanager
async def client(at: Address, name: str, *filters: str) -> AsyncIterator[MqttBroker]:
    settings = MqttSettings(at.host, at.port, name, at.username, at.password, filters=filters)
    async with asyncio.timeout(120), MqttBroker(settings) as broker:
        await broker.connected()
        yield broker


async def keeps(at: Address) -> bool:
    async with client(at, "away", TOPIC):
        pass
    async with client(at, "publisher") as publisher:
        await publisher.publish(TOPIC, b"kept")
    async with client(at, "away", TOPIC) as back:
        with contextlib.suppress(TimeoutError):
            message = await asyncio.wait_for(anext(back.messages()), 3)
            message.acknowledge()
            return True
    return False


async def rate(at: Address, messages: int) -> float:
    """Messages a second."""
    async with client(at, "subscriber", TOPIC) as subscriber, client(at, "publisher") as publisher:

        async def subscribe() -> None:
            inbox = subscriber.messages()
            for _ in range(messages):
                (await anext(inbox)).acknowledge()

        room = asyncio.Semaphore(UNDER_WAY)
        began = time.perf_counter()
        reading = asyncio.create_task(subscribe())
        sent = []
        for _ in range(messages):
            await room.acquire()
            sent.append(publisher.publish(TOPIC, PAYLOAD))
            sent[-1].add_done_callback(lambda _: room.release())
        await reading
        seconds = time.perf_counter() - began
        await asyncio.gather(*sent)
        return messages / seconds


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--amqtt", help="the amqtt executable of an environment of its own")
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))

    brokers: dict[str, Callable[[Path], AbstractAsyncContextManager[Address]]] = {"nats-server": embedded}
    if available():
        brokers["mosquitto"] = mosquitto
    if options.amqtt:
        brokers["amqtt"] = partial(amqtt, options.amqtt)
    for name, start in brokers.items():
        rates, kept = [], []
        for _ in range(options.rounds):
            with tempfile.TemporaryDirectory() as directory:
                async with start(Path(directory)) as at:
                    kept.append(await keeps(at))
                    rates.append(await rate(at, options.messages))
        print(
            f"{name:12} {statistics.median(rates):7.0f} messages/s (of {', '.join(f'{r:.0f}' for r in rates)}), "
            f"kept in {sum(kept)} of {len(kept)} rounds"
        )


if __name__ == "__main__":
    asyncio.run(main())
