"""The line to the broker: a persistent session, QoS 1, subscribed before it sends. paho has a thread of its own."""

import queue
import socket
import threading
import time
import uuid
from collections.abc import Iterable
from typing import Any, Self

from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from fake_simulator.wire import Credentials, Heard, decode

CONNECT_SECONDS = 30.0
"""How long the broker may take to be there at first; later interruptions are waited out by whoever listens."""
FAREWELL_SECONDS = 2.0
"""How long the last messages may take to be acknowledged, and the broker to forget the session."""


class BrokerUnreachable(Exception):
    """There is no broker to talk to, or it refuses us; the message says why."""


class Connection:
    """Open it with `with`. What arrives is decoded and waits in order for `next`.

    Raises BrokerUnreachable when the TLS file of the credentials cannot be used.
    """

    def __init__(self, credentials: Credentials, filters: Iterable[str]) -> None:
        self._credentials = credentials
        self._filters = [(filter_, 1) for filter_ in filters]
        self._heard: queue.SimpleQueue[Heard] = queue.SimpleQueue()
        self._subscribed = threading.Event()
        self._acknowledgement = threading.Condition()
        self._unacknowledged = 0
        self._refusal = "connection failed"
        self._began = time.monotonic()
        self._client_id = f"fake-simulator-{uuid.uuid4().hex[:12]}"
        self._client = self._new_client(clean_session=False)
        self._client.max_inflight_messages_set(10_000)  # a step goes to every model at once
        self._client.reconnect_delay_set(1, 5)
        self._client.on_socket_open = _send_at_once
        self._client.on_connect = self._on_connect
        self._client.on_subscribe = self._on_subscribe
        self._client.on_publish = self._on_publish
        self._client.on_message = self._on_message

    def __enter__(self) -> Self:
        """Connect and subscribe. Raises BrokerUnreachable."""
        self._client.connect_async(self._credentials.host, self._credentials.port)
        self._client.loop_start()
        if not self._subscribed.wait(CONNECT_SECONDS):
            self._client.disconnect()
            self._client.loop_stop()
            address = f"{self._credentials.host}:{self._credentials.port}"
            raise BrokerUnreachable(f"no broker at {address} within {CONNECT_SECONDS:g} s: {self._refusal}")
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.flush(FAREWELL_SECONDS)
        self._client.disconnect()
        self._client.loop_stop()
        self._forget_session()

    def send(self, topic: str, payload: bytes) -> None:
        """Hand over at QoS 1, not retained; it is sent, and sent again, until the broker has it."""
        with self._acknowledgement:
            self._unacknowledged += 1
        self._client.publish(topic, payload, qos=1)

    def flush(self, within: float) -> bool:
        """Wait for the broker to acknowledge all that was sent; returns whether it did, within so many seconds."""
        with self._acknowledgement:
            return self._acknowledgement.wait_for(lambda: self._unacknowledged == 0, within)

    def start_clock(self) -> None:
        """From now on count the seconds that messages carry."""
        self._began = time.monotonic()

    def next(self, timeout: float) -> Heard:
        """The next message. Raises TimeoutError when none comes within so many seconds."""
        try:
            return self._heard.get(timeout=max(timeout, 0))
        except queue.Empty:
            raise TimeoutError from None

    def _new_client(self, *, clean_session: bool) -> mqtt.Client:
        client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=self._client_id, clean_session=clean_session)
        if self._credentials.username:
            client.username_pw_set(self._credentials.username, self._credentials.password)
        if self._credentials.tls_ca_file:
            try:
                client.tls_set(self._credentials.tls_ca_file)
            except OSError as error:
                file = self._credentials.tls_ca_file
                raise BrokerUnreachable(f"no TLS with MQTT_TLS_CA_FILE {file}: {error}") from error
        return client

    def _forget_session(self) -> None:
        """A persistent session that nobody will come back for would gather messages in the broker for ever."""
        client = self._new_client(clean_session=True)
        connected = threading.Event()
        client.on_connect = lambda *_: connected.set()
        try:
            client.connect(self._credentials.host, self._credentials.port)
        except OSError:
            return  # a broker that is gone; if it comes back with its memory, its own expiry has to do
        client.loop_start()
        connected.wait(FAREWELL_SECONDS)
        client.disconnect()
        client.loop_stop()

    # What paho calls on its network thread.

    def _on_connect(self, client: mqtt.Client, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        if reason.is_failure:
            self._refusal = str(reason)
        else:
            client.subscribe(self._filters)

    def _on_subscribe(self, _client: mqtt.Client, _data: Any, _mid: int, codes: Any, _properties: Any) -> None:
        if any(code.is_failure for code in codes):
            self._refusal = "it lets us connect but not subscribe"
        else:
            self._subscribed.set()

    def _on_publish(self, _client: mqtt.Client, _data: Any, _mid: int, _reason: Any, _properties: Any) -> None:
        with self._acknowledgement:
            self._unacknowledged -= 1
            self._acknowledgement.notify_all()

    def _on_message(self, _client: mqtt.Client, _data: Any, message: mqtt.MQTTMessage) -> None:
        after = time.monotonic() - self._began
        self._heard.put(decode(message.topic, bytes(message.payload), retained=message.retain, after=after))


def _send_at_once(_client: mqtt.Client, _data: Any, sock: Any) -> None:
    # Else the kernel holds a step back until the message before is acknowledged: 40 ms each.
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
