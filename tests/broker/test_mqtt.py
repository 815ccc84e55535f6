"""MqttBroker on the wire: what it says, in which order, and on which connection."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from structlog.testing import capture_logs

from mso.broker import ConnectionLost
from mso.broker.mqtt import MqttBroker
from tests.broker.wire import CONNACK, CONNECT, PINGREQ, PUBACK, PUBLISH, ScriptedBroker, packet, publish
from tests.mqtt import PATIENCE, receive, settings


@pytest.fixture
async def script() -> AsyncIterator[ScriptedBroker]:
    async with asyncio.timeout(PATIENCE), ScriptedBroker() as broker:
        yield broker


async def test_it_asks_for_a_session_that_is_kept(script: ScriptedBroker) -> None:
    """CONNECT says MQTT 3.1.1, no clean session, the stable client id, and the keepalive."""
    async with MqttBroker(settings(script, "mso", keepalive=7, filters=("/in",))):
        connect = await (await script.talk()).welcome()
    assert connect.body == b"\x00\x04MQTT\x04" + b"\x00" + b"\x00\x07" + b"\x00\x03mso"


async def test_acknowledgements_go_out_in_order_and_never_for_an_earlier_connection(script: ScriptedBroker) -> None:
    """An id belongs to the connection that it came on: on the next one it may mean another message."""
    async with MqttBroker(settings(script, filters=("/in",))) as client:
        talk = await script.talk()
        await talk.welcome()
        await talk.say(*(publish(b"/in", b"", mid) for mid in (5, 3, 4, 9)))
        *prompt, late = await receive(client, 4)
        for message in prompt:
            message.acknowledge()
        assert [(await talk.hear_a(PUBACK)).mid for _ in prompt] == [5, 3, 4]
        talk.hang_up()

        talk = await script.talk()
        await talk.welcome(session_present=True)
        late.acknowledge()
        await talk.say(publish(b"/in", b"", 1, redelivered=True))
        (again,) = await receive(client)
        assert again.redelivered
        late.acknowledge()
        again.acknowledge()
        assert (await talk.hear_a(PUBACK)).mid == 1


async def test_what_was_not_acknowledged_is_not_sent_again(script: ScriptedBroker) -> None:
    """A message that went out on a lost connection is not repeated on the next one: only the caller may."""
    async with MqttBroker(settings(script, filters=("/in",))) as client:
        talk = await script.talk()
        await talk.welcome()
        await client.connected()
        lost = client.publish("/out", b"once")
        await talk.hear_a(PUBLISH)
        talk.hang_up()
        with pytest.raises(ConnectionLost):
            await lost
        talk = await script.talk()
        await talk.welcome(session_present=True)
        await client.connected()
        following = client.publish("/out", b"twice")
        heard = await talk.hear_a(PUBLISH)
        assert heard.body.endswith(b"twice")
        await talk.say(packet(PUBACK, heard.body[6:8]))
        await following


async def test_what_comes_before_suback_is_delivered(script: ScriptedBroker) -> None:
    """A broker that remembers the session sends what it kept right behind CONNACK."""
    async with MqttBroker(settings(script, filters=("/in",))) as client:
        talk = await script.talk()
        await talk.hear_a(CONNECT)
        await talk.say(packet(CONNACK, b"\x01\x00"), publish(b"/in", b"kept", 1))
        (message,) = await receive(client)
        assert message.payload == b"kept"
        assert client.connection is None


async def test_a_large_message_on_a_slow_link_is_no_dead_link(script: ScriptedBroker) -> None:
    """While a message is still coming in, a PINGRESP behind it is not missed, and we keep saying that we live."""
    async with MqttBroker(settings(script, keepalive=1, filters=("/in",))) as client:
        talk = await script.talk()
        await talk.welcome()
        slow = publish(b"/in", bytes(3000), 1)
        for start in range(0, len(slow), 100):
            await talk.say(slow[start : start + 100])
            await asyncio.sleep(0.1)
        (message,) = await receive(client)
        assert len(message.payload) == 3000
        for _ in range(4):
            await talk.hear_a(PINGREQ)
        assert (await client.connected()).number == 1


async def test_who_accepts_and_says_nothing_is_given_up(
    script: ScriptedBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Something that listens and never answers CONNECT is tried again, and called silent."""
    monkeypatch.setattr("mso.broker.mqtt.CONNECT_SECONDS", 0.1)
    with capture_logs() as logs:
        async with MqttBroker(settings(script, filters=("/in",))):
            await script.talk()
            await script.talk()
    assert "silent" in logs[0]["reason"]


async def test_a_topic_that_is_no_text_is_delivered_to_be_refused(script: ScriptedBroker) -> None:
    """A topic that is not UTF-8 must not end the connection: it would come again for ever."""
    async with MqttBroker(settings(script, filters=("/in",))) as client:
        talk = await script.talk()
        await talk.welcome()
        await talk.say(publish(b"/in/\xff", b"", 1))
        (message,) = await receive(client)
        assert message.topic == "/in/\N{REPLACEMENT CHARACTER}"
        message.acknowledge()
        assert (await talk.hear_a(PUBACK)).mid == 1


async def test_a_topic_that_cannot_be_published_fails_alone(script: ScriptedBroker) -> None:
    """A wildcard in a topic is the fault of one message, and costs that one."""
    async with MqttBroker(settings(script, filters=("/in",))) as client:
        talk = await script.talk()
        await talk.welcome()
        await client.connected()
        with pytest.raises(ValueError, match="wildcard"):
            await client.publish("/out/+", b"")
        good = client.publish("/out", b"")
        heard = await talk.hear_a(PUBLISH)
        await talk.say(packet(PUBACK, heard.body[6:8]))
        await good


async def test_a_bug_in_the_network_thread_ends_whoever_reads(
    script: ScriptedBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unknown error is not retried for ever in the background: it is raised where messages are read."""

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr("mso.broker.mqtt.Message", broken)
    async with MqttBroker(settings(script, filters=("/in",))) as client:
        talk = await script.talk()
        await talk.welcome()
        await talk.say(publish(b"/in", b"", 1))
        with pytest.raises(RuntimeError, match="a bug"):
            await receive(client)
