"""What tests of the MQTT edge share: settings for a broker under test, and waiting for what must come."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, MutableMapping
from typing import Any, Protocol

from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion

from mso.broker import Connection, Message
from mso.broker.mqtt import MqttBroker, MqttSettings

PATIENCE = 20.0
"""Seconds after which a test gives up on what should take a moment."""


Logs = list[MutableMapping[str, Any]]


class Reachable(Protocol):
    """A broker that runs: a Mosquitto, or the embedded one."""

    @property
    def host(self) -> str: ...
    @property
    def port(self) -> int: ...
    @property
    def username(self) -> str: ...
    @property
    def password(self) -> str: ...


def settings(broker: Reachable, client_id: str = "mso", **changes: Any) -> MqttSettings:
    known = {"host": broker.host, "port": broker.port, "username": broker.username, "password": broker.password}
    return MqttSettings(client_id=client_id, **{**known, **changes})


@contextlib.asynccontextmanager
async def connected(broker: Reachable, client_id: str = "mso", **changes: Any) -> AsyncIterator[MqttBroker]:
    """An MqttBroker with a connection."""
    async with MqttBroker(settings(broker, client_id, **changes)) as client:
        async with asyncio.timeout(PATIENCE):
            await client.connected()
        yield client


async def receive(client: MqttBroker, count: int = 1) -> list[Message]:
    """The next messages, unacknowledged."""
    messages = client.messages()
    async with asyncio.timeout(PATIENCE):
        return [await anext(messages) for _ in range(count)]


async def reconnected(client: MqttBroker, after: Connection) -> Connection:
    """The first connection that is not `after` any more."""
    async with asyncio.timeout(PATIENCE):
        while (connection := await client.connected()).number == after.number:
            await asyncio.sleep(0.005)
    return connection


async def disconnected(client: MqttBroker) -> None:
    async with asyncio.timeout(PATIENCE):
        while client.connection:
            await asyncio.sleep(0.005)


async def refusal(logs: Logs, broker: Reachable, **changes: Any) -> MutableMapping[str, Any]:
    """What the log says of a connection that must not come to be."""
    async with MqttBroker(settings(broker, **changes)) as client:
        async with asyncio.timeout(PATIENCE):
            while not (told := [entry for entry in logs if entry["event"] == "broker.unreachable"]):
                await asyncio.sleep(0.01)
        assert client.connection is None
    return told[0]


def displace(broker: Reachable, client_id: str) -> None:
    """Take over a client's session for a moment, as a second one with its id would: the broker ends its connection."""
    usurper = paho.Client(CallbackAPIVersion.VERSION2, client_id, clean_session=False, manual_ack=True)
    usurper.username_pw_set(broker.username, broker.password)
    usurper.on_connect = lambda client, *_: client.disconnect()
    usurper.connect(broker.host, broker.port)
    usurper.loop_forever()
