"""The model itself: connect, announce, answer, end. paho has a network thread of its own; run() waits for events."""

import socket
import threading
from typing import Any

from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from fake_model.configuration import Configuration
from mso.protocol.messages import lifecycle_pb2

ANSWERS = {
    "ModelParameters": ("Parameterized", lifecycle_pb2.Parameterized()),
    "NewStep": ("CalculationsDone", lifecycle_pb2.CalculationsDone()),
}


class BrokerUnreachable(Exception):
    """There was no broker to talk to within the time that the configuration allows; the message says what was tried."""


class CalculationError(Exception):
    """What this model does not survive."""


class FakeModel:
    """One model of one simulation, for one run(). Raises BrokerUnreachable when its TLS file cannot be used."""

    def __init__(self, configuration: Configuration) -> None:
        self.configuration = configuration
        self.steps = 0
        self._subscribed = threading.Event()
        self._announced = threading.Event()
        self._done = threading.Event()
        self._refusal = "no answer"
        ids = f"{configuration.simulation}/{configuration.model}"
        self._from_simulator = f"/lifecycle/{configuration.simulator}/model/{ids}"
        self._to_simulator = f"/lifecycle/model/{configuration.simulator}/{ids}"
        self._to_mso = f"/lifecycle/model/mso/{ids}"
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2)
        if configuration.username:
            self._client.username_pw_set(configuration.username, configuration.password)
        if configuration.tls_ca_file:
            self._turn_tls_on(configuration.tls_ca_file)
        self._client.reconnect_delay_set(1, 5)
        self._client.on_socket_open = _send_at_once
        self._client.on_connect = self._on_connect
        self._client.on_connect_fail = self._on_connect_fail
        self._client.on_subscribe = self._on_subscribe
        self._client.on_publish = self._on_publish
        self._client.on_message = self._on_message

    def _turn_tls_on(self, ca_file: str) -> None:
        try:
            self._client.tls_set(ca_file)
        except OSError as error:
            raise BrokerUnreachable(f"no TLS with MQTT_TLS_CA_FILE {ca_file}: {error}") from error

    def run(self) -> None:
        """Work until the time is over or SimulationDone comes. Raises BrokerUnreachable and CalculationError."""
        self._client.connect_async(self.configuration.host, self.configuration.port)
        self._client.loop_start()
        try:
            self._wait_for(self._subscribed)
            print("connected to the broker")
            if self.configuration.announces_ready:
                self._announce()
            self._work()
        finally:
            self._client.disconnect()
            self._client.loop_stop()

    def _announce(self) -> None:
        ready = lifecycle_pb2.ReadyForProcessing()
        self._client.publish(f"{self._to_mso}/ReadyForProcessing", ready.SerializeToString(), qos=1)
        self._wait_for(self._announced)
        print("announced ReadyForProcessing")

    def _work(self) -> None:
        seconds = self.configuration.run_seconds
        print("working until SimulationDone" if seconds is None else f"working for {seconds:g} s")
        if self._done.wait(seconds):
            print(f"the simulation is done after {self.steps} steps")
        if self.configuration.exit_code:
            self._calculate()
        print("the model is done")

    def _calculate(self) -> None:
        name = self.configuration.model
        stage = "was working" if self.configuration.announces_ready else "was being set up"
        raise CalculationError(f"the calculation of {name} did not converge while it {stage}")

    def _wait_for(self, event: threading.Event) -> None:
        if not event.wait(self.configuration.connect_timeout):
            address = f"{self.configuration.host}:{self.configuration.port}"
            seconds = self.configuration.connect_timeout
            raise BrokerUnreachable(f"no broker at {address} within {seconds:g} s: {self._refusal}")

    # What paho calls on its network thread.

    def _on_connect(self, client: mqtt.Client, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        if reason.is_failure:
            self._refusal = str(reason)
        else:
            client.subscribe(f"{self._from_simulator}/+", qos=1)

    def _on_connect_fail(self, _client: mqtt.Client, _data: Any) -> None:
        self._refusal = "connection failed"

    def _on_subscribe(self, _client: mqtt.Client, _data: Any, _mid: int, _codes: Any, _properties: Any) -> None:
        self._subscribed.set()

    def _on_publish(self, _client: mqtt.Client, _data: Any, _mid: int, _reason: Any, _properties: Any) -> None:
        # The first thing that this model publishes is ReadyForProcessing, so the first PUBACK is its.
        self._announced.set()

    def _on_message(self, client: mqtt.Client, _data: Any, message: mqtt.MQTTMessage) -> None:
        name = message.topic.rpartition("/")[2]
        if name == "SimulationDone":
            self._done.set()
        elif name in ANSWERS:
            self.steps += name == "NewStep"
            answer, content = ANSWERS[name]
            client.publish(f"{self._to_simulator}/{answer}", content.SerializeToString(), qos=1)


def _send_at_once(_client: mqtt.Client, _data: Any, sock: Any) -> None:
    # Else the kernel holds an answer back until the one before is acknowledged: 40 ms a step.
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
