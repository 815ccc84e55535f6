"""The MQTT edge: one persistent session at the broker, carried by as many connections as it takes.

- A connection is a `_Link`: a thread with a paho client of its own, which is never used again once the connection has
  ended. paho sends again what was not acknowledged when *one client object* connects twice; so it never has anything to
  send again, and only our own queue resends. An acknowledgement belongs to its link, and an ended link does nothing
  (faults M1, M2, M3).
- The thread is ours and not paho's `loop_start`: that one waits in `select()`, which refuses every descriptor from 1024
  on, and a service with a thousand child processes has those. Nothing but this thread touches the client. The event
  loop hands it work through a queue and hears back, in order, through `call_soon_threadsafe`.
- The thread keeps the link alive however busy the event loop is, and gives it up after one and a quarter keepalives
  without a byte (fault M6). paho's own check takes up to two, and misses the PINGRESP while a large message comes in
  before it.
- Filters are subscribed on every CONNACK, and a connection counts only once every one of them was granted.
"""

import asyncio
import contextlib
import queue
import selectors
import socket
import ssl
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import Any, Self

from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from mso.broker import Connection, ConnectionLost, Message
from mso.broker.inbox import Inbox
from mso.broker.lifeline import End, Lifeline
from mso.broker.settings import MqttSettings, Presence
from mso.broker.trouble import Trouble, explain

__all__ = ["MqttBroker", "MqttSettings", "Presence"]

CONNECT_SECONDS = 5.0
"""How long TCP, TLS and CONNACK may each take."""
PINGREQ = b"\xc0\x00"


async def _at_once() -> None:
    """Nobody has to be asked."""


class MqttBroker:
    """An mso.broker.Broker over MQTT 3.1.1.

    `may_connect` is awaited before each connection: who shares the client id asks there whether it is still its own.
    """

    def __init__(self, settings: MqttSettings, may_connect: Callable[[], Awaitable[None]] = _at_once) -> None:
        self._settings = settings
        self._may_connect = may_connect
        self._session = self._lifeline(settings, self)
        self._others = [
            self._lifeline(
                replace(settings, client_id=f"{settings.client_id}-status-{number}", filters=(), wills=(presence,))
            )
            for number, presence in enumerate(settings.wills[1:], start=1)
        ]
        self._tasks: list[asyncio.Task[None]] = []
        self._connection: Connection | None = None
        self._connections = 0
        self._is_connected = asyncio.Event()
        self._takes_in = True
        self._inbox = Inbox()

    def _lifeline(self, settings: MqttSettings, owner: "MqttBroker | None" = None) -> "Lifeline[_Link]":
        return Lifeline(
            partial(_Link, settings, owner),
            self._may_connect,
            client_id=settings.client_id,
            broker=f"{settings.host}:{settings.port}",
        )

    async def __aenter__(self) -> Self:
        for lifeline in (self._session, *self._others):
            task = asyncio.create_task(lifeline.run(), name="mqtt")
            task.add_done_callback(self._crashed)
            self._tasks.append(task)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)
        await asyncio.gather(*(lifeline.close() for lifeline in (self._session, *self._others)))

    @property
    def connection(self) -> Connection | None:
        return self._connection

    @property
    def last_end(self) -> End | None:
        """How the connection before this one ended, or what kept it from coming up; None if there was none."""
        return self._session.last_end

    async def connected(self, after: int = 0) -> Connection:
        while self._connection is None or self._connection.number <= after:
            self._is_connected.clear()
            await self._is_connected.wait()
        return self._connection

    def messages(self) -> AsyncIterator[Message]:
        return self._inbox

    def publish(self, topic: str, payload: bytes) -> asyncio.Future[None]:
        link = self._session.link
        if self._connection is None or link is None:
            raise ConnectionLost("there is no connection")
        return link.publish(topic, payload)

    async def stop_intake(self) -> None:
        # Not UNSUBSCRIBE: that would end the session's claim to what is published until the next start.
        self._takes_in = False
        self._inbox.clear()

    # What the session's link tells, on the event loop.

    def _came_up(self, session_present: bool) -> None:
        self._connections += 1
        self._connection = Connection(self._connections, session_present)
        self._is_connected.set()

    def _went_down(self) -> None:
        self._connection = None
        self._is_connected.clear()

    def _received(self, message: Message) -> None:
        if self._takes_in:
            self._inbox.put(message)

    def _crashed(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (bug := task.exception()):
            self._inbox.put(bug)


class _Link:
    """One connection, from TCP to its end."""

    def __init__(self, settings: MqttSettings, owner: MqttBroker | None) -> None:
        self._settings = settings
        self._presence = settings.wills[0] if settings.wills else None
        self._loop = asyncio.get_running_loop()
        # The event loop's side. `owner` is whoever's session this is; a mere presence has none.
        self._owner = owner
        self.up: asyncio.Future[bool] = self._loop.create_future()
        self.ended: asyncio.Future[End] = self._loop.create_future()
        self._unacknowledged: dict[asyncio.Future[None], None] = {}
        # Between the two.
        self._work: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
        self._bell, self._ringing = socket.socketpair()
        self._bell.setblocking(False)
        self._aborted = False
        # The thread's side.
        self._client = self._make_client(clean_session=owner is None or not settings.persistent)
        self._awaits_puback: dict[int, asyncio.Future[None]] = {}
        self._session_present: bool | None = None
        self._up_since: float | None = None
        self._leaving = False
        threading.Thread(target=self._run, name=f"mqtt-{settings.client_id}", daemon=True).start()

    # What the event loop asks for.

    def publish(self, topic: str, payload: bytes) -> asyncio.Future[None]:
        future: asyncio.Future[None] = self._loop.create_future()
        self._unacknowledged[future] = None
        self._do(partial(self._publish, topic, payload, future))
        return future

    def say_goodbye(self) -> None:
        """Offline, then DISCONNECT, behind everything that was handed over before."""
        self._do(self._leave)

    def abort(self) -> None:
        self._aborted = True
        self._do(lambda: None)

    def _acknowledge(self, mid: int) -> None:
        self._do(partial(self._client.ack, mid, 1))

    def _do(self, work: Callable[[], object]) -> None:
        if self.ended.done():
            return
        self._work.put(work)
        with contextlib.suppress(BlockingIOError):  # so much ringing cannot be missed
            self._bell.send(b"!")

    # What the event loop hears, in this order.

    def _came_up(self, session_present: bool) -> None:
        self.up.set_result(session_present)
        if self._owner:
            self._owner._came_up(session_present)

    def _settle(self, future: asyncio.Future[None], error: Exception | None = None) -> None:
        self._unacknowledged.pop(future, None)
        if future.done():  # cancelled by its owner
            return
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)

    def _finish(self, end: End) -> None:
        self._bell.close()
        self._ringing.close()
        self.up.cancel()
        self.ended.set_result(end)
        if self._owner:
            self._owner._went_down()
        for future in list(self._unacknowledged):
            self._settle(future, ConnectionLost(end.reason))

    # From here on it is the thread that runs.

    def _tell(self, callback: Callable[..., None], *args: object) -> None:
        try:
            self._loop.call_soon_threadsafe(callback, *args)
        except RuntimeError:  # the event loop is closed: nobody is left to talk for
            self._aborted = True

    def _run(self) -> None:
        advice, crash = "", None
        try:
            self._converse()
            reason = "closed by us"
        except Trouble as trouble:
            reason, advice = str(trouble), trouble.advice
        except Exception as error:  # noqa: BLE001 - travels to the event loop, where it ends the process
            reason, crash = repr(error), error
        lasted = None if self._up_since is None else time.monotonic() - self._up_since
        self._tell(self._finish, End(reason, advice, lasted, crash))

    def _make_client(self, clean_session: bool) -> paho.Client:
        client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=self._settings.client_id,
            clean_session=clean_session,
            protocol=MQTTProtocolVersion.MQTTv311,
            reconnect_on_failure=False,
            manual_ack=True,
        )
        client.connect_timeout = CONNECT_SECONDS
        client.max_inflight_messages = 0  # no limit: how much is under way at once is the caller's business
        if self._settings.username:
            client.username_pw_set(self._settings.username, self._settings.password)
        if self._presence:
            client.will_set(self._presence.topic, self._presence.offline_payload, qos=1, retain=True)
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        client.on_publish = self._on_publish
        return client

    def _converse(self) -> None:
        """Connect, and talk until one side ends it. Raises Trouble unless it was us."""
        host, port = self._settings.host, self._settings.port
        try:
            if context := self._settings.tls_context():
                self._client.tls_set_context(context)
            self._client.connect(host, port, self._settings.keepalive)
            connection = self._client.socket()
            if not isinstance(connection, socket.socket):
                raise Trouble("the connection was lost at once")
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with connection, selectors.DefaultSelector() as selector:
                selector.register(self._ringing, selectors.EVENT_READ)
                selector.register(connection, selectors.EVENT_READ)
                self._talk(connection, selector)
        except (OSError, UnicodeError) as error:
            raise explain(error, host, port) from error
        if not self._leaving and not self._aborted:
            raise Trouble("the connection was lost")

    def _talk(self, connection: socket.socket, selector: selectors.BaseSelector) -> None:
        client, keepalive = self._client, self._settings.keepalive
        heard = pinged = time.monotonic()
        while client.socket() is connection and not self._aborted:
            patience = CONNECT_SECONDS if self._session_present is None else 1.25 * keepalive
            wants_write = selectors.EVENT_WRITE if client.want_write() else 0
            selector.modify(connection, selectors.EVENT_READ | wants_write)
            # TLS may have taken more from the socket than paho has read: the selector would not wake us for that.
            buffered = isinstance(connection, ssl.SSLSocket) and connection.pending() > 0
            until = time.monotonic() if buffered else min(heard + patience, pinged + keepalive / 2)
            ready = {key.fileobj: mask for key, mask in selector.select(max(0.0, until - time.monotonic()))}
            now = time.monotonic()
            if buffered or ready.get(connection, 0) & selectors.EVENT_READ:
                heard = now
                _check(client.loop_read())
            if ready.get(connection, 0) & selectors.EVENT_WRITE:
                _check(client.loop_write())
            if self._ringing in ready:
                self._answer_the_bell()
            if now >= heard + patience:
                raise Trouble(f"the broker was silent for {patience:g} s")
            if now >= pinged + keepalive / 2:
                pinged = now
                self._ping(connection)

    def _ping(self, connection: socket.socket) -> None:
        """PINGREQ by hand: paho knows it only together with its own verdict on the link."""
        if self._client.want_write():
            return  # perhaps in the middle of a packet, which will tell the broker as well that we live
        with contextlib.suppress(BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):  # silence will tell
            connection.send(PINGREQ)

    def _answer_the_bell(self) -> None:
        self._ringing.recv(4096)
        with contextlib.suppress(queue.Empty):
            while True:
                self._work.get_nowait()()

    def _publish(self, topic: str, payload: bytes, future: asyncio.Future[None]) -> None:
        try:
            sent = self._client.publish(topic, payload, qos=1)
        except ValueError as error:  # a topic that MQTT does not know: the fault of this one message
            self._tell(self._settle, future, error)
            return
        _check(sent.rc)
        self._awaits_puback[sent.mid] = future

    def _leave(self) -> None:
        self._leaving = True
        if self._presence and self._up_since is not None:
            self._client.publish(self._presence.topic, self._presence.offline_payload, qos=1, retain=True)
        self._client.disconnect()

    def _on_connect(
        self, client: paho.Client, _: Any, flags: paho.ConnectFlags, reason: ReasonCode, __: Properties | None
    ) -> None:
        if reason.is_failure:
            advice = "check MQTT_USERNAME and MQTT_PASSWORD" if reason.value in (134, 135) else ""
            raise Trouble(f"the broker answered CONNECT with: {reason}", advice)
        self._session_present = flags.session_present
        if self._settings.filters:
            client.subscribe([(topic_filter, 1) for topic_filter in self._settings.filters])
        else:
            self._be_up()

    def _on_subscribe(
        self, client: paho.Client, _: Any, mid: int, reasons: list[ReasonCode], __: Properties | None
    ) -> None:
        refused = [name for name, reason in zip(self._settings.filters, reasons, strict=True) if reason.is_failure]
        if refused:
            raise Trouble(
                f"the broker refused the subscription to {' and '.join(refused)}",
                f"let the broker's access rules grant it to the user {self._settings.username!r}",
            )
        self._be_up()

    def _be_up(self) -> None:
        self._up_since = time.monotonic()
        if self._presence:
            self._client.publish(self._presence.topic, self._presence.online_payload, qos=1, retain=True)
        self._tell(self._came_up, bool(self._session_present))

    def _on_message(self, client: paho.Client, _: Any, message: paho.MQTTMessage) -> None:
        if self._owner is None:
            return
        try:
            topic = message.topic
        except UnicodeDecodeError as error:  # raised here it would come again for ever: let the reader refuse it
            topic = error.object.decode(errors="replace")
        self._tell(
            self._owner._received,
            Message(
                topic,
                bytes(message.payload),
                redelivered=message.dup,
                retained=message.retain,
                acknowledge=partial(self._acknowledge, message.mid) if message.qos else _nothing,
                packet=message.mid,
                alive=lambda: not self.ended.done(),
            ),
        )

    def _on_publish(self, client: paho.Client, _: Any, mid: int, reason: ReasonCode, __: Properties | None) -> None:
        future = self._awaits_puback.pop(mid, None)
        if future is not None:  # else it was the presence
            self._tell(self._settle, future)


def _nothing() -> None:
    """What the acknowledgement of a QoS 0 message does."""


def _check(code: MQTTErrorCode) -> None:
    if code != MQTTErrorCode.MQTT_ERR_SUCCESS:
        lost = code == MQTTErrorCode.MQTT_ERR_CONN_LOST
        raise Trouble("the connection was lost" if lost else paho.error_string(code))
