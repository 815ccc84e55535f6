"""A real broker with a password, somebody who hears everything on it, and fake parts as processes."""

import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import pytest
from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from tests import mosquitto
from tests.mosquitto import Mosquitto

LIMIT = 20.0
"""Seconds; nothing here takes a tenth of it unless something is broken."""


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    if not mosquitto.available():
        if os.environ.get("CI") == "true":
            pytest.fail(mosquitto.INSTALL_HINT)
        pytest.skip(mosquitto.INSTALL_HINT)
    with Mosquitto(tmp_path / "mosquitto", persistence=False) as running:
        yield running


@pytest.fixture
def address(broker: Mosquitto) -> dict[str, str]:
    """The environment in which a fake part finds the broker."""
    return {
        "MQTT_HOST": broker.host,
        "MQTT_PORT": str(broker.port),
        "MQTT_USERNAME": broker.username,
        "MQTT_PASSWORD": broker.password,
    }


class Peer:
    """A client that hears everything, and can say anything."""

    def __init__(self, broker: Mosquitto) -> None:
        self.heard: queue.SimpleQueue[mqtt.MQTTMessage] = queue.SimpleQueue()
        self._subscribed = threading.Event()
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2)
        self._client.username_pw_set(broker.username, broker.password)
        self._client.on_message = self._hear
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.connect(broker.host, broker.port)

    def __enter__(self) -> Self:
        self._client.loop_start()
        self._client.subscribe("#", qos=1)
        assert self._subscribed.wait(LIMIT)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def next(self) -> mqtt.MQTTMessage:
        return self.heard.get(timeout=LIMIT)

    def wait_for(self, topic: str) -> mqtt.MQTTMessage:
        """The next message on this topic; what comes before it is let go."""
        while (message := self.next()).topic != topic:
            pass
        return message

    def all_so_far(self) -> list[str]:
        """The topics of everything that was said until now: up to a word of our own, which comes last."""
        self.say("so-far")
        topics = []
        while (message := self.next()).topic != "so-far":
            topics.append(message.topic)
        return topics

    def say(self, topic: str, payload: bytes = b"", *, retain: bool = False) -> None:
        self._client.publish(topic, payload, qos=1, retain=retain)

    def _hear(self, _client: mqtt.Client, _data: Any, message: mqtt.MQTTMessage) -> None:
        self.heard.put(message)


@pytest.fixture
def peer(broker: Mosquitto) -> Iterator[Peer]:
    with Peer(broker) as peer:
        yield peer


class Part:
    """A fake part as a process of its own, with nothing in its environment but what a test gives it."""

    def __init__(self, module: str, environment: Mapping[str, str], *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            env={"PATH": os.environ["PATH"], **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def ends(self) -> tuple[int, str, str]:
        """Wait for its end: exit code, standard output, standard error."""
        output, errors = self.process.communicate(timeout=LIMIT)
        return self.process.returncode, output, errors

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


class Parts:
    """Starts fake parts; none outlives its test."""

    def __init__(self) -> None:
        self._started: list[Part] = []

    def start(self, module: str, environment: Mapping[str, str], *arguments: str) -> Part:
        part = Part(module, environment, *arguments)
        self._started.append(part)
        return part

    def kill(self) -> None:
        for part in self._started:
            if part.process.poll() is None:
                part.kill()


@pytest.fixture
def parts() -> Iterator[Parts]:
    parts = Parts()
    yield parts
    parts.kill()
