"""Presence: what the others read about us, whether we live, leave or are killed."""

import asyncio
import json
import sys
from dataclasses import asdict

import pytest
from paho.mqtt import subscribe

from mso.broker.mqtt import MqttBroker, Presence
from tests.mosquitto import Mosquitto
from tests.mqtt import PATIENCE, connected, receive, settings

pytestmark = pytest.mark.broker

WILLS = (
    Presence("/healthcheck/mso/essim/Status", b"essim: on", b"essim: off"),
    Presence("/healthcheck/mso/dots/Status", b"dots: on", b"dots: off"),
)

CHILD = """
import asyncio, json, sys
from mso.broker.mqtt import MqttBroker, MqttSettings, Presence
known = json.load(sys.stdin)
wills = tuple(Presence(topic, online.encode(), offline.encode()) for topic, online, offline in known.pop("wills"))
async def live():
    async with MqttBroker(MqttSettings(**known, wills=wills)):
        await asyncio.Event().wait()
asyncio.run(live())
"""


async def retained(mosquitto: Mosquitto) -> dict[str, bytes]:
    """What a client that comes now is told, once something is told on both topics."""
    found = await asyncio.wait_for(
        asyncio.to_thread(
            subscribe.simple,
            [will.topic for will in WILLS],
            msg_count=2,
            hostname=mosquitto.host,
            port=mosquitto.port,
            auth={"username": mosquitto.username, "password": mosquitto.password},
        ),
        PATIENCE,
    )
    assert all(message.retain for message in found)
    return {message.topic: message.payload for message in found}


async def until_both_say(observer: MqttBroker, expected: set[bytes]) -> None:
    heard: set[bytes] = set()
    while heard != expected:
        (message,) = await receive(observer)
        heard.add(message.payload)
        message.acknowledge()


async def test_who_is_killed_is_reported_offline_to_everybody(mosquitto: Mosquitto) -> None:
    """kill -9 of a process with two presences leaves `offline` on both topics, retained."""
    async with connected(mosquitto, "observer", filters=tuple(will.topic for will in WILLS)) as observer:
        child = await asyncio.create_subprocess_exec(sys.executable, "-c", CHILD, stdin=asyncio.subprocess.PIPE)
        try:
            known = asdict(settings(mosquitto, "doomed"))
            known["wills"] = [(w.topic, w.online_payload.decode(), w.offline_payload.decode()) for w in WILLS]
            assert child.stdin
            child.stdin.write(json.dumps(known).encode())
            child.stdin.close()
            await until_both_say(observer, {will.online_payload for will in WILLS})
        finally:
            child.kill()
            await child.wait()
        await until_both_say(observer, {will.offline_payload for will in WILLS})
    assert await retained(mosquitto) == {will.topic: will.offline_payload for will in WILLS}


async def test_who_leaves_says_so(mosquitto: Mosquitto) -> None:
    """While connected both topics say online, retained; after leaving in good order both say offline."""
    observed = tuple(will.topic for will in WILLS)
    async with connected(mosquitto, "observer", filters=observed) as observer:
        async with connected(mosquitto, wills=WILLS):
            await until_both_say(observer, {will.online_payload for will in WILLS})
            assert await retained(mosquitto) == {will.topic: will.online_payload for will in WILLS}
        await until_both_say(observer, {will.offline_payload for will in WILLS})
    assert await retained(mosquitto) == {will.topic: will.offline_payload for will in WILLS}


async def test_a_broker_that_forgot_everything_is_told_again(mosquitto: Mosquitto) -> None:
    """Online is said on every connection: a broker that lost its memory knows it again."""
    online = {will.online_payload for will in WILLS}
    async with (
        connected(mosquitto, "observer", filters=tuple(will.topic for will in WILLS)) as observer,
        connected(mosquitto, wills=WILLS),
    ):
        await until_both_say(observer, online)
        mosquitto.kill()
        mosquitto.forget()
        mosquitto.start()
        await until_both_say(observer, online)
        assert await retained(mosquitto) == {will.topic: will.online_payload for will in WILLS}
