"""Which messages of an MqttBroker came on the connection that there is."""

import asyncio

from mso.broker.mqtt import MqttBroker
from tests.broker.wire import CONNACK, CONNECT, ScriptedBroker, packet, publish
from tests.mqtt import PATIENCE, receive, settings


async def test_a_message_is_alive_until_the_connection_ends_that_it_came_on() -> None:
    """Also one that came before SUBACK, on a connection that never counted."""
    async with asyncio.timeout(PATIENCE), ScriptedBroker() as script:
        async with MqttBroker(settings(script, filters=("/in",))) as client:
            talk = await script.talk()
            await talk.hear_a(CONNECT)
            await talk.say(packet(CONNACK, b"\x01\x00"), publish(b"/in", b"kept", 1))
            (early,) = await receive(client)
            assert early.alive()
            talk.hang_up()
            talk = await script.talk()
            await talk.welcome(session_present=True)
            await talk.say(publish(b"/in", b"kept", 1, redelivered=True))
            (again,) = await receive(client)
            assert (early.alive(), again.alive()) == (False, True)
            talk.hang_up()
            await script.talk()
            assert not again.alive()
