"""The register: what really ran. Models tell it that they live, it tells them how to end, and it sees each of them die.

A life ends when its connection does: that is seen whatever killed the process, and at that instant. What is living is
what is connected. It is the harness's own, and MSO knows nothing of it.
"""

import json
import select
import socket
import socketserver
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from tests.chaos.board import Board
from tests.chaos.evidence import Life, Played
from tests.chaos.plan import Fate, Hand, ModelPlan, OnTerm

Announce = Callable[[str, str], object]
"""Publish ReadyForProcessing for a simulation's model."""
LayHands = Callable[[Life, Hand], None]
"""Do something to the pod of a life by hand."""

_KEEPALIVE = {socket.TCP_KEEPIDLE: 3, socket.TCP_KEEPINTVL: 1, socket.TCP_KEEPCNT: 3} if sys.platform == "linux" else {}
"""The network of a pod may be gone before its last word has left."""
_UNASKED = ModelPlan("", Fate((0,), 0.0, ready=None))
"""What becomes of a model that nobody asked for."""


@dataclass(slots=True, eq=False)
class _Link:
    """The connection of a life."""

    life: Life
    model: ModelPlan
    connection: socket.socket
    sending: threading.Lock = field(default_factory=threading.Lock)
    woken: tuple[socket.socket, socket.socket] = field(default_factory=socket.socketpair)
    announced: bool = False
    laid: bool = False

    def tell(self, *lines: str) -> None:
        try:
            with self.sending:
                self.connection.sendall("".join(f"{line}\n" for line in lines).encode())
        except OSError:
            pass  # it is dead: whoever reads finds out

    def wake(self) -> None:
        try:
            self.woken[1].send(b".")
        except OSError:
            pass  # its life is over


class Register:
    """Listens while `with` lasts, at an address that models reach."""

    def __init__(self, address: str, board: Board, announce: Announce, book: Path) -> None:
        self.lives: list[Life] = []
        self.began = 0
        self.ended = 0
        """How many lives began and ended."""
        self.lay_hands: LayHands | None = None
        self._board = board
        self._announce = announce
        self._book = book.open("a", buffering=1, encoding="utf-8")
        self._expected: dict[tuple[str, str], tuple[Played, ModelPlan]] = {}
        self._links: list[_Link] = []
        self._lock = threading.Lock()
        register = self

        class Keeper(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                register._keep(self.request)

        self._server = _Server((address, 0), Keeper)
        host, port = self._server.server_address[:2]
        self.address = f"{host!s}:{port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True).start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        """All that lives ends by this."""
        self._server.shutdown()
        self._server.server_close()
        self.bury(None)
        self._board.wait(lambda: not self.living(), time.monotonic() + 10)
        self._book.close()

    def expect(self, run: Played) -> None:
        """From here on models of these ids are those of this run."""
        with self._lock:
            for model in run.plan.models:
                self._expected[run.simulation, model.id] = (run, model)

    def all_said(self, run: Played) -> None:
        """Its models may announce themselves from now on."""
        run.all_said = True
        for link in self._links_of(run):
            link.wake()

    def release(self, run: Played) -> None:
        """Its models end, those that have started and those that will."""
        run.released = True
        for link in self._links_of(run):
            link.tell(*_release(link.model, link.life.number))

    def done(self, run: Played) -> None:
        """Its models hear that the simulation is done."""
        for link in self._links_of(run):
            if link.model.fate.hears_done:
                link.tell(f"end 0 {link.model.fate.lingers}")

    def bury(self, run: Played | None) -> None:
        """End what lives of a run that went wrong; of all with None."""
        for link in self._links_of(run):
            try:
                link.connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # dead already

    def living(self) -> list[Life]:
        with self._lock:
            return [link.life for link in self._links]

    def hand_over(self, runs: Sequence[Played]) -> list[Life]:
        """All lives so far; they are forgotten here, as are all runs but these."""
        with self._lock:
            lives, self.lives = self.lives, []
            self._expected = {names: (run, model) for names, (run, model) in self._expected.items() if run in runs}
        return lives

    def _links_of(self, run: Played | None) -> list[_Link]:
        with self._lock:
            return [link for link in self._links if run is None or link.life.run is run]

    def _keep(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _KEEPALIVE.items():
            connection.setsockopt(socket.IPPROTO_TCP, option, value)
        lines = _Lines(connection)
        while not (first := lines.read()):
            if first is None:
                return
        link = self._begin(json.loads(first[0]), connection)
        try:
            for line in first[1:]:
                self._hear(link.life, line)
            self._follow(link, lines)
        finally:
            link.life.ended = time.monotonic()
            with self._lock:
                self._links.remove(link)
                self.ended += 1
            for end in link.woken:
                end.close()
            self._write(link.life, "ended")

    def _begin(self, hello: dict[str, str], connection: socket.socket) -> _Link:
        names = hello["simulation"], hello["model"]
        now = time.monotonic()
        with self._lock:
            run, model = self._expected.get(names, (None, _UNASKED))
            number = 1 + sum(life.run is run and life.model == names[1] for life in self.lives)
            life = Life(*names, run, number, f"{hello['pid']}@{hello['host']}", now)
            link = _Link(life, model, connection)
            self.lives.append(life)
            self._links.append(link)
            self.began += 1
        fate = model.fate
        on_term = {OnTerm.ENDS: "143", OnTerm.ENDS_WELL: "0", OnTerm.IGNORES: "ignore"}[fate.on_term]
        link.tell(f"term {on_term}")
        if fate.lasts is not None:
            link.tell(f"end {_code(fate, number)} {fate.lasts}")
        elif run and run.released:
            link.tell(*_release(model, number))
        self._write(life, "began")
        return link

    def _follow(self, link: _Link, lines: "_Lines") -> None:
        while True:
            wait = self._act(link)
            readable, _, _ = select.select([link.connection, link.woken[0]], [], [], wait)
            if link.woken[0] in readable:
                link.woken[0].recv(4096)
            if link.connection in readable:
                heard = lines.read()
                if heard is None:
                    return
                for line in heard:
                    self._hear(link.life, line)

    def _act(self, link: _Link) -> float | None:
        """Do what is due for this model; the seconds until something is."""
        life, fate = link.life, link.model.fate
        now, due = time.monotonic(), []
        if fate.ready is not None and not link.announced and life.run and life.run.all_said:
            if now >= life.began + fate.ready:
                link.announced = True
                self._announce(life.simulation, life.model)
            else:
                due.append(life.began + fate.ready)
        if fate.hand and self.lay_hands and not link.laid:
            if now >= life.began + fate.hand_after:
                link.laid = True
                self.lay_hands(life, fate.hand)
            else:
                due.append(life.began + fate.hand_after)
        return min(due) - now if due else None

    def _hear(self, life: Life, line: str) -> None:
        word, _, rest = line.partition(" ")
        if word == "term":
            life.termed = time.monotonic()
        if rest != "ignored":
            life.said = int(rest)
        self._write(life, line)

    def _write(self, life: Life, word: str) -> None:
        run = life.run.plan.label if life.run else "unasked"
        if not self._book.closed:
            who = f"{life.simulation}/{life.model} {run} {life.number} {life.where}"
            self._book.write(f"{time.monotonic():.3f} {who} {word}\n")
        self._board.tell()


class _Lines:
    """Whole lines from a connection."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._unread = b""

    def read(self) -> list[str] | None:
        """The next ones, at least what one recv brings; None when nobody speaks any more."""
        try:
            received = self._connection.recv(4096)
        except OSError:
            return None
        if not received:
            return None
        *lines, self._unread = (self._unread + received).split(b"\n")
        return [line.decode() for line in lines]


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 200


def _code(fate: Fate, number: int) -> int:
    return fate.codes[min(number, len(fate.codes)) - 1]


def _release(model: ModelPlan, number: int) -> list[str]:
    fate = model.fate
    return [] if fate.endless or fate.lasts is not None else [f"end {_code(fate, number)} {fate.lingers}"]
