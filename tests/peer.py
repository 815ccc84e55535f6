"""A simulation orchestrator for the tests that knows only docs/protocol.md: bytes on topics."""

import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from mso.protocol.messages import lifecycle_pb2
from tests.mqtt import Reachable

PATIENCE_SECONDS = 100.0


@dataclass(frozen=True, slots=True)
class Heard:
    """One message from MSO."""

    topic: str
    payload: bytes = field(repr=False)
    at: float
    """time.monotonic()"""
    retained: bool

    @property
    def name(self) -> str:
        return self.topic.rsplit("/", 1)[1]

    @property
    def model(self) -> str:
        return self.topic.split("/")[5] if self.name == "ModelHasTerminated" else ""

    @property
    def end(self) -> lifecycle_pb2.ModelHasTerminated:
        return lifecycle_pb2.ModelHasTerminated.FromString(self.payload)


class Peer:
    """Connected while `with` lasts, with a persistent session, so that nothing is missed while the broker restarts."""

    def __init__(self, broker: Reachable, name: str = "test-so") -> None:
        self.name = name
        self.broker = broker
        self._heard: list[Heard] = []
        self._deliveries: dict[int, tuple[str, bytes]] = {}
        self._news = threading.Condition()
        self._subscribed = threading.Event()
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=f"peer-{name}", clean_session=False)
        self._client.username_pw_set(broker.username, broker.password)
        self._client.reconnect_delay_set(min_delay=1, max_delay=1)
        self._client.max_inflight_messages_set(1000)
        self._client.on_connect = lambda client, *_: client.subscribe(f"/lifecycle/mso/{self.name}/#", qos=1)
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.on_message = self._take
        self._client.on_socket_open = _send_at_once

    def __enter__(self) -> Self:
        self._client.connect(self.broker.host, self.broker.port)
        self._client.loop_start()
        assert self._subscribed.wait(PATIENCE_SECONDS)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _take(self, _: mqtt.Client, __: object, message: mqtt.MQTTMessage) -> None:
        delivery = message.topic, bytes(message.payload)
        # A broker that was killed sends again what it had not saved as acknowledged, with the same number. MSO sends
        # again under another one.
        repeated = message.dup and self._deliveries.get(message.mid) == delivery
        self._deliveries[message.mid] = delivery
        if repeated:
            return
        heard = Heard(*delivery, time.monotonic(), message.retain)
        with self._news:
            self._heard.append(heard)
            self._news.notify_all()

    def publish(self, topic: str, payload: bytes = b"", *, qos: int = 1, retain: bool = False) -> None:
        """Returns on PUBACK."""
        self._client.publish(topic, payload, qos=qos, retain=retain).wait_for_publish(PATIENCE_SECONDS)

    def send(self, topic: str, payload: bytes, *, qos: int) -> None:
        """Without waiting for anything."""
        self._client.publish(topic, payload, qos=qos)

    def deploy(self, simulation: str, request: lifecycle_pb2.DeployModels | bytes) -> None:
        payload = request if isinstance(request, bytes) else request.SerializeToString()
        self.publish(f"/lifecycle/{self.name}/mso/{simulation}/DeployModels", payload)

    def ready(self, simulation: str, *models: str) -> None:
        """On behalf of models that speak no MQTT; returns when the broker has all of it."""
        topics = [f"/lifecycle/model/mso/{simulation}/{model}/ReadyForProcessing" for model in models]
        for sent in [self._client.publish(topic, qos=1) for topic in topics]:
            sent.wait_for_publish(PATIENCE_SECONDS)

    def done(self, simulation: str) -> None:
        self.publish(f"/lifecycle/{self.name}/mso/{simulation}/SimulationDone")

    def heard(self, simulation: str) -> list[Heard]:
        """What came about one simulation so far, in order."""
        with self._news:
            return [heard for heard in self._heard if heard.topic.split("/")[4] == simulation]

    def names(self, simulation: str) -> list[str]:
        return [heard.name for heard in self.heard(simulation)]

    def wait(self, simulation: str, enough: Callable[[Sequence[Heard]], bool], seconds: float = 0) -> list[Heard]:
        """Wait until what was heard about a simulation is enough, and return it."""
        deadline = time.monotonic() + (seconds or PATIENCE_SECONDS)
        while not enough(heard := self.heard(simulation)):
            with self._news:
                left = deadline - time.monotonic()
                assert left > 0, f"heard only {[message.topic for message in heard][-20:]}"
                self._news.wait(min(left, 1.0))
        return heard

    def wait_for(self, simulation: str, name: str, times: int = 1, seconds: float = 0) -> list[Heard]:
        """Wait until messages of this name came so many times; everything that was heard about the simulation."""
        return self.wait(simulation, lambda heard: sum(message.name == name for message in heard) >= times, seconds)

    def wait_for_end(self, simulation: str, runs: int = 1, seconds: float = 0) -> list[Heard]:
        return self.wait_for(simulation, "AllModelsHaveTerminated", runs, seconds)


def _send_at_once(_: mqtt.Client, __: object, connection: Any) -> None:
    # Else the kernel holds back what is small until the message before is acknowledged: 40 ms.
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def configuration(model: str, image: str, **environment: str) -> lifecycle_pb2.ModelConfiguration:
    return lifecycle_pb2.ModelConfiguration(
        modelID=model,
        imageUrl=image,
        environmentVariables=[
            lifecycle_pb2.EnvironmentVariable(name=name, value=value) for name, value in environment.items()
        ],
    )


def order(
    *models: lifecycle_pb2.ModelConfiguration, version: int = 1, keep_logs_hours: float = 0
) -> lifecycle_pb2.DeployModels:
    return lifecycle_pb2.DeployModels(
        simulatorId="an-so", modelConfigurations=models, keepLogsHours=keep_logs_hours, protocolVersion=version
    )
