"""MQTT for everybody here but MSO: sessions that are persistent, speak at QoS 1, and survive what befalls the broker.

What is published waits in the session while the broker is away, and is sent again until it is acknowledged, in order.
"""

import socket
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any, Self

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from tests.chaos.board import Board
from tests.chaos.evidence import Word
from tests.mosquitto import Mosquitto

PATIENCE_SECONDS = 30.0

EVERYTHING = ("/lifecycle/#", "/healthcheck/mso/+/Status")


class Session:
    """Connected while `with` lasts, by a port that may be that of a proxy."""

    def __init__(self, broker: Mosquitto, port: int, client_id: str, board: Board, filters: Sequence[str] = ()) -> None:
        self.words: list[Word] = []
        self.about: defaultdict[str, list[Word]] = defaultdict(list)
        """The words on topics of a simulation."""
        self.heard: Counter[str] = Counter()
        """How many of each name."""
        self._address = (broker.host, port)
        self._board = board
        self._filters = [(topic, 1) for topic in filters]
        self._deliveries: dict[int, tuple[str, bytes]] = {}
        self._acknowledged: set[int] = set()
        self._subscribed = threading.Event()
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=client_id, clean_session=False)
        self._client.username_pw_set(broker.username, broker.password)
        self._client.reconnect_delay_set(min_delay=1, max_delay=1)
        self._client.max_inflight_messages_set(1000)
        self._client.on_connect = self._on_connect
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.on_message = self._on_message
        self._client.on_publish = self._on_publish
        self._client.on_socket_open = _send_at_once

    def __enter__(self) -> Self:
        self._client.connect(*self._address)
        self._client.loop_start()
        if not self._subscribed.wait(PATIENCE_SECONDS):
            raise RuntimeError("the broker does not answer")
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def publish(self, topic: str, payload: bytes = b"") -> int:
        """Returns at once, with what `acknowledged` wants to know."""
        return self._client.publish(topic, payload, qos=1).mid

    def acknowledged(self, number: int) -> bool:
        return number in self._acknowledged

    def deliver(self, topic: str, payload: bytes, until: float) -> bool:
        """Publish; whether the broker has acknowledged it in time."""
        number = self.publish(topic, payload)
        return self._board.wait(lambda: self.acknowledged(number), until)

    def hand_over(self) -> list[Word]:
        """All that was heard so far; it is forgotten here. While nobody waits for any of it."""
        words, self.words = self.words, []
        self.about.clear()
        return words

    def _on_connect(self, client: mqtt.Client, *_: object) -> None:
        if self._filters:
            client.subscribe(self._filters)
        else:
            self._subscribed.set()

    def _on_publish(self, _: mqtt.Client, __: object, number: int, *___: object) -> None:
        self._acknowledged.add(number)
        self._board.tell()

    def _on_message(self, _: mqtt.Client, __: object, message: mqtt.MQTTMessage) -> None:
        if message.retain:
            return  # what the broker remembers is no sign of life
        delivery = message.topic, bytes(message.payload)
        # A broker that sends a message again keeps its number; one that it takes for two messages has two.
        again = message.dup and self._deliveries.get(message.mid) == delivery
        self._deliveries[message.mid] = delivery
        word = Word(time.monotonic(), *delivery, redelivered=message.dup, again=again)
        self.words.append(word)
        self.about[word.simulation].append(word)
        self.heard[word.name] += 1
        self._board.tell()


def _send_at_once(_: mqtt.Client, __: object, connection: Any) -> None:
    # Else the kernel holds back what is small until the message before is acknowledged: 40 ms.
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
