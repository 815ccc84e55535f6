"""A client of the broker as one user: what it hears, and what it says. It knows topics, and no protocol."""

import threading
from collections.abc import Callable
from typing import Any, Self

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from tests.shipped_mosquitto import Login

PATIENCE_SECONDS = 60.0


class Party:
    """Connected while `with` lasts, and subscribed to its filters at QoS 1.

    With a client id it has a persistent session, so that it may leave and come back; with a will it may die.
    """

    def __init__(self, login: Login, *filters: str, client_id: str = "", will: str = "") -> None:
        self._login = login
        self._filters = [(topic_filter, 1) for topic_filter in filters]
        self._heard: list[tuple[str, bytes]] = []
        self._news = threading.Condition()
        self._ready = threading.Event()
        self._refusal = ""
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=client_id, clean_session=not client_id)
        self._client.username_pw_set(login.username, login.password)
        if login.tls_ca_file:
            self._client.tls_set(str(login.tls_ca_file))
        if will:
            self._client.will_set(will, b"will", qos=1)
        self._client.max_inflight_messages_set(10_000)
        self._client.on_connect = self._on_connect
        self._client.on_subscribe = lambda *_: self._ready.set()
        self._client.on_message = self._take

    def __enter__(self) -> Self:
        self._client.connect(self._login.host, self._login.port)
        self._client.loop_start()
        assert self._ready.wait(PATIENCE_SECONDS), "nobody answers"
        if self._refusal:
            self.__exit__()
            raise ConnectionRefusedError(self._refusal)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def publish(self, topic: str, payload: bytes = b"x", *, qos: int = 1) -> None:
        """At QoS 1 it returns on PUBACK, at QoS 0 when the message is on its way."""
        self._client.publish(topic, payload, qos=qos).wait_for_publish(PATIENCE_SECONDS)

    def publish_all(self, topics: list[str], *, qos: int) -> None:
        """One after the other, without a pause; returns when the broker has all of them."""
        for sent in [self._client.publish(topic, b"x", qos=qos) for topic in topics]:
            sent.wait_for_publish(PATIENCE_SECONDS)

    def die(self) -> None:
        """Without a DISCONNECT: the broker has to publish the will, if it may be."""
        self._client.loop_stop()
        connection = self._client.socket()
        assert connection
        connection.close()

    def wait(self, enough: Callable[[list[tuple[str, bytes]]], bool]) -> list[tuple[str, bytes]]:
        """What was heard so far, when it is enough: topics and payloads, in order."""
        with self._news:
            assert self._news.wait_for(lambda: enough(self._heard), PATIENCE_SECONDS), f"heard {len(self._heard)}"
            return list(self._heard)

    def until(self, topic: str, payload: bytes = b"x") -> list[tuple[str, bytes]]:
        """What was heard before this message, which comes at last."""
        heard = self.wait(lambda heard: (topic, payload) in heard)
        return heard[: heard.index((topic, payload))]

    def _on_connect(self, client: mqtt.Client, _: Any, __: Any, reason: Any, ___: Any) -> None:
        if reason.is_failure:
            self._refusal = str(reason)
            self._ready.set()
        elif self._filters:
            client.subscribe(self._filters)
        else:
            self._ready.set()

    def _take(self, _: mqtt.Client, __: Any, message: mqtt.MQTTMessage) -> None:
        with self._news:
            self._heard.append((message.topic, bytes(message.payload)))
            self._news.notify_all()
