"""What can be seen of the broker as a guest: whether it is there, lets us in, and gives us back what we say.

The guest has a client id of its own, so that no service loses its connection. It subscribes to what MSO subscribes to,
and publishes nothing but a nonce to the topic on which the witness of MSO talks to itself: there nobody else listens,
and the witness passes over what is not its own. What MSO publishes to simulation orchestrators cannot be tried, because
they would hear it; and MQTT 3.1.1 does not tell how large a message may be.
"""

import asyncio
import ipaddress
import secrets
from dataclasses import replace

from mso.broker import Broker, ConnectionLost
from mso.broker.mqtt import MqttBroker
from mso.broker.settings import MqttSettings
from mso.checkup import Checks, Finding, Grade, ok, skipped, warning, wrong

BROKER = "broker"
SECURITY = "broker security"
MESSAGES = "broker messages"
CONNECT_SECONDS = 8.0
ECHO_SECONDS = 4.0


async def check(settings: MqttSettings, nonce_topic: str) -> Checks:
    """`settings` are those of the service, filters included; `nonce_topic` is the one of its witness."""
    failed = asyncio.Event()
    attempts = 0

    async def only_once() -> None:
        nonlocal attempts
        attempts += 1
        if attempts > 1:
            failed.set()
            await asyncio.Event().wait()

    filters = dict.fromkeys((*settings.filters, nonce_topic))
    guest = replace(
        settings,
        client_id=f"{settings.client_id}-doctor-{secrets.token_hex(4)}",
        persistent=False,
        wills=(),
        filters=tuple(filters),
    )
    broker = MqttBroker(guest, only_once)
    async with broker:
        found = await _connect(broker, guest, failed)
        yield found
        if found.grade is not Grade.OK:
            for name in (SECURITY, MESSAGES):
                yield skipped(name, "there is no connection")
            return
        yield _security(settings)
        yield await _listen(broker, settings, nonce_topic)


async def _connect(broker: MqttBroker, guest: MqttSettings, failed: asyncio.Event) -> Finding:
    where = f"{guest.host}:{guest.port}"
    either = [asyncio.create_task(broker.connected()), asyncio.create_task(failed.wait())]
    _, rest = await asyncio.wait(either, timeout=CONNECT_SECONDS, return_when=asyncio.FIRST_COMPLETED)
    for task in rest:
        task.cancel()
    await asyncio.wait(either)
    if broker.connection is not None:
        who = f"as {guest.username!r}" if guest.username else "without a name"
        how = "with TLS" if guest.uses_tls else "without TLS"
        return ok(BROKER, f"{where} lets us in {who}, {how}, and grants all subscriptions")
    if (end := broker.last_end) is not None:
        return wrong(BROKER, end.reason, end.advice or "look into the log of the broker")
    return wrong(
        BROKER,
        f"no connection to {where} within {CONNECT_SECONDS:g} s",
        "check MQTT_HOST, MQTT_PORT and what is between",
    )


def _security(settings: MqttSettings) -> Finding:
    if _is_here(settings.host):
        return ok(SECURITY, "it is on this machine")
    if not settings.username and not settings.tls_cert_file:
        return warning(
            SECURITY,
            "the broker lets anybody in, and whoever is in can have models deployed",
            "give the broker a password file, and set MQTT_USERNAME and MQTT_PASSWORD",
        )
    if not settings.uses_tls:
        return warning(
            SECURITY,
            "passwords, also those of models, go over the network for everybody to read",
            "let the broker speak TLS, and set MQTT_TLS_CA_FILE",
        )
    return ok(SECURITY, "TLS, and a name")


def _is_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


async def _listen(broker: Broker, settings: MqttSettings, nonce_topic: str) -> Finding:
    nonce = secrets.token_hex(16).encode()
    try:
        async with asyncio.timeout(ECHO_SECONDS):
            await broker.publish(nonce_topic, nonce)
            async for message in broker.messages():
                message.acknowledge()
                if message.payload == nonce:
                    break
    except (TimeoutError, ConnectionLost):
        return wrong(
            MESSAGES,
            f"what was published to {nonce_topic} did not come back within {ECHO_SECONDS:g} s, and without that no "
            "ModelsReady goes out",
            f"let the broker's access rules grant the user {settings.username!r} to publish and to subscribe to this "
            "topic, and to those of MSO in docs/protocol.md; a broker that refuses does not say so",
        )
    return ok(MESSAGES, "what MSO says to itself comes back")
