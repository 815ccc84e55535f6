"""The witness: whether a ModelsReady went out, when the connection broke, or we were killed, before the broker said so.

A second one does harm, and none leaves the simulation orchestrator waiting for ever (docs/protocol.md, *What peers in
the field do*). So a second session of our own hears what we publish, and knows by three rules:

- Before a row is handed over, a *token* is put into the session: a message of our own that is not acknowledged before
  the row is settled, and neither is the copy of the row. The broker sends both again on every connection. Where the
  token is, the session is as it was, or later; where it is not, the session was lost, or the broker woke up with an
  older memory. So nothing but the token need be noted, and it does not matter who connected in between, and died.
- A session is a queue: what was published later is heard later. So what we say to ourselves over the connection that
  acknowledges comes back when those acknowledgements have counted; and what we publish under the client id of the row,
  on a new connection, comes back when the copy of the row was heard, or will never be.
- What is heard is believed only on the connection on which the token was heard.

It does not acknowledge in the order of arrival, as MQTT (4.6) wants it of a client; Mosquitto and nats-server do not
mind.
"""

import asyncio
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import Enum
from typing import Self

import structlog

from mso.broker import Broker, ConnectionLost, Message

log = structlog.get_logger()

ECHO_SECONDS = 10.0
"""How long to wait for what we said to ourselves before it is strange that it does not come."""
LOOKS = 10
"""How often in that time to look whether a connection has taken it along: nobody tells us."""
AWAY_SECONDS = 600.0
"""Mosquitto keeps 1,000 messages for who is away, by default; a run makes three."""


class Verdict(Enum):
    """What became of a row that was handed to the broker."""

    SEEN = "seen"
    """It went out."""
    NOT_SEEN = "not seen"
    """It did not go out, and never will of itself. To hand it over again takes no new token."""
    LOST = "lost"
    """Nobody can tell: the broker has forgotten the session of the witness, or part of it."""


@dataclass(slots=True, eq=False)
class _Row:
    """A topic that is outstanding."""

    token: str
    clearing: bool = False
    mark: Message | None = None
    """The token as it was heard last."""
    copy: Message | None = None
    seen: bool = False

    @property
    def marked(self) -> bool:
        """The token was heard on the present connection."""
        return self.mark is not None and self.mark.alive()

    @property
    def stopped_up(self) -> bool:
        """A copy came before its token, which is behind it or nowhere; and it may keep all else from us."""
        return self.copy is not None and self.copy.alive() and not self.marked

    def hear_mark(self, message: Message) -> None:
        self.mark = message
        self._look()

    def hear_copy(self, message: Message) -> None:
        if self.clearing:
            message.acknowledge()
        elif self.copy and self.copy.alive() and not message.redelivered:
            message.acknowledge()  # somebody else's: one is enough, and too many would keep the token from us
        else:
            self.copy = message
        self._look()

    def _look(self) -> None:
        # Not before both are here: nats-server may send the copy again before it sends the token again.
        self.seen = self.seen or (self.marked and self.copy is not None and self.copy.alive())

    def loosen(self) -> None:
        """Make room: a broker may be told to send no more before something is acknowledged. It was heard, after all."""
        if self.mark and self.mark.alive():
            self.mark.acknowledge()
            self.mark = replace(self.mark, acknowledge=_nothing)

    def let_go(self) -> None:
        for message in (self.mark, self.copy):
            if message:
                message.acknowledge()


class Witness:
    """Open it with `async with`, which opens its session; `watch` is a loop for the service to run."""

    def __init__(self, session: Broker, main: Broker, nonce_topic: str, *, late_seconds: float = 0) -> None:
        """`session` hears protocol.topics.witness_filters and publishes to `nonce_topic`; so does `main`, which sends.

        `late_seconds` is for a broker that does not send again at once, and first, what was not acknowledged on an
        earlier connection, as MQTT 3.1.1 (4.4, 4.6) wants it: how long it may take to. nats-server: its `ack_wait`.
        """
        self._session = session
        self._main = main
        self._topic = nonce_topic
        self._late_seconds = late_seconds
        self._rows: dict[str, _Row] = {}
        self._echoes: dict[str, Message | None] = {}
        self._news = asyncio.Event()
        self._deaf = False

    async def __aenter__(self) -> Self:
        await self._session.__aenter__()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._session.__aexit__(*exc_info)

    def expect(self, topic: str, token: str) -> None:
        """A row that an earlier process handed over, under this token, is outstanding. Say so before opening."""
        self._rows[topic] = _Row(token)

    async def clear(self, topic: str) -> str:
        """The token for a row that is to be handed over next: note it durably, then do so. The topic is outstanding.

        From now on every copy of this topic that is heard is of a message that is published from now on. Waits for the
        session as long as it takes. For a topic that is outstanding it gives the same token where that still holds.
        One call at a time for a topic.
        """
        row = self._rows.get(topic)
        if row and not row.clearing and await self._verdict(row) is Verdict.NOT_SEEN:
            return row.token
        if row:
            self.settled(topic, row.token)
        while True:
            await self._session.connected()
            if (early := self._seconds_too_early()) > 0:
                await asyncio.sleep(early)
                continue
            row = self._rows[topic] = _Row(secrets.token_hex(16), clearing=True)
            try:
                await self._echo(self._session, row.token)
                # Behind the acknowledgements of what was before the token. And a broker that saves when it has answered
                # has saved the token before it answers this.
                await self._session.publish(self._topic, b"saved?")
                if row.marked:
                    row.clearing = False
                    return row.token
            except (ConnectionLost, TimeoutError):
                continue
            finally:
                if row.clearing:
                    self.settled(topic, row.token)

    async def verdict(self, topic: str, token: str) -> Verdict:
        """What became of a row that was handed over under this token. Waits for both connections as long as it takes.

        To be asked when the connection that the row was handed to has ended: in the same process after ConnectionLost,
        or in a later one, with `main` under the same client id. Only then is it certain that nothing of it comes later.
        """
        row = self._rows.get(topic)
        found = await self._verdict(row) if row and row.token == token else Verdict.LOST
        log.warning("witness.verdict", topic=topic, verdict=found.value)
        return found

    def settled(self, topic: str, token: str) -> None:
        """The row under this token is done, and that is durable: what is kept of it may go. Harmless if nothing is."""
        row = self._rows.get(topic)
        if row and row.token == token:
            del self._rows[topic]
            row.let_go()

    def trouble(self) -> str:
        """Why no ModelsReady can go out now; empty if it can."""
        if self._session.connection is None:
            return "the witness is not connected to the broker, and without it no ModelsReady goes out"
        if self._deaf:
            return f"the witness does not hear what it publishes to {self._topic}, and no ModelsReady goes out"
        return ""

    async def watch(self) -> None:
        """Loop: hear. Keeps what is outstanding, and acknowledges everything else at once."""
        async for message in self._session.messages():
            row = self._rows.get(message.topic)
            if message.retained:
                message.acknowledge()
            elif message.topic == self._topic:
                self._hear_ourselves(message)
            elif row:
                row.hear_copy(message)
            else:
                message.acknowledge()
            self._tell()

    def _hear_ourselves(self, message: Message) -> None:
        text = message.payload.decode(errors="replace")
        self._deaf = False
        if text in self._echoes:
            self._echoes[text] = message
        row = next((row for row in self._rows.values() if row.token == text), None)
        if row:
            row.hear_mark(message)
        else:
            message.acknowledge()

    async def _verdict(self, row: _Row) -> Verdict:
        while not row.seen:
            await self._main.connected()
            await self._session.connected()
            try:
                echo = await self._echo(self._main, secrets.token_hex(16), enough=lambda: row.seen)
            except ConnectionLost:
                continue
            except TimeoutError:
                if row.stopped_up:
                    return Verdict.LOST
                row.loosen()
                continue
            await self._until(lambda: row.seen, self._late_seconds)
            if echo and echo.alive() and not row.seen:
                return Verdict.NOT_SEEN if row.marked else Verdict.LOST
        return Verdict.SEEN

    async def _echo(self, via: Broker, text: str, enough: Callable[[], bool] = lambda: False) -> Message | None:
        """What we publish, as it comes back to us; or None when it was enough before.

        Raises ConnectionLost, and TimeoutError when nothing came on connections that live: the broker keeps it from us.
        """
        connections = (via.connection, self._session.connection)
        published = via.publish(self._topic, text.encode())
        published.add_done_callback(lambda published: self._tell() if _has_failed(published) else None)
        self._echoes[text] = None
        try:
            for _ in range(LOOKS):
                if await self._until(
                    lambda: self._echoes[text] is not None or enough() or _has_failed(published), ECHO_SECONDS / LOOKS
                ):
                    break
                if (via.connection, self._session.connection) != connections:
                    raise ConnectionLost
            else:
                self._complain()
                raise TimeoutError
            if self._echoes[text] is None and not enough():
                published.result()  # raises what it failed with
            return self._echoes[text]
        finally:
            del self._echoes[text]

    def _seconds_too_early(self) -> float:
        """For how long something old may still come."""
        connection = self._session.connection
        if connection is None or not connection.session_present:
            return 0
        return connection.since + self._late_seconds - time.monotonic()

    def _complain(self) -> None:
        if not self._deaf:
            self._deaf = True
            log.error(
                "witness.deaf",
                topic=self._topic,
                seconds=ECHO_SECONDS,
                advice="let the broker's access rules grant this user to publish and to subscribe to this topic, "
                "and let it send several messages before it waits for acknowledgements (max_inflight_messages)",
            )

    def _tell(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    async def _until(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Wait for it, but no longer; whether it holds."""
        try:
            async with asyncio.timeout(seconds):
                while not condition():
                    await self._news.wait()
        except TimeoutError:
            return False
        return True


class Absentee:
    """A session that hears what the witness hears, and is hardly ever there: so that Mosquitto saves.

    Told to save on every change, Mosquitto 2.0 counts only what it keeps for somebody who is away: what it has sent to
    the witness, and was not acknowledged, is gone after kill -9. Because of this session it saves all that it knows
    with each token and each copy. Brokers that save by themselves do not need it, and are not harmed by it.
    """

    def __init__(self, open_session: Callable[[], Broker], nonce_topic: str) -> None:
        """`open_session` makes one with the filters of the witness, and a client id of its own."""
        self._open_session = open_session
        self._topic = nonce_topic

    async def keep_away(self) -> None:
        """Loop: be there for a moment, now and then, since a broker keeps only so much, and for so long."""
        while True:
            await self.visit()
            await asyncio.sleep(AWAY_SECONDS)

    async def visit(self) -> None:
        """Subscribe, and take what has gathered. Waits for the broker as long as it takes."""
        async with self._open_session() as session:
            while True:
                await session.connected()
                nonce = secrets.token_hex(16).encode()
                with suppress(ConnectionLost, TimeoutError):
                    session.publish(self._topic, nonce).add_done_callback(_has_failed)
                    async with asyncio.timeout(ECHO_SECONDS):
                        async for message in session.messages():
                            message.acknowledge()
                            if message.payload == nonce:
                                return


def _has_failed(published: "asyncio.Future[None]") -> bool:
    return published.done() and (published.cancelled() or published.exception() is not None)


def _nothing() -> None:
    """What is left to do about a message that was acknowledged."""
