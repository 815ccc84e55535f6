"""The world of a run: broker, MSO, peers and models, all real, and what can be done to them. One of each backplane.

Everybody reaches the broker by a proxy: MSO by one whose connections are cut and delayed, peers and models by another.
The broker is killed only when it has saved what it acknowledged: what a broker forgets is outside the promise
(docs/protocol.md, *Promises*). Mosquitto acknowledges before it saves, and with `autosave_on_changes` a message that
goes straight to connected clients is no change: it is saved with the first acknowledgement of a client, however late.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Self

import psutil

from tests.chaos import clock
from tests.chaos.board import Board
from tests.chaos.clock import Clock
from tests.chaos.evidence import Happened, Pod
from tests.chaos.faults import Fault, Kind
from tests.chaos.mso import Mso
from tests.chaos.orchestrator import Orchestrator, Patience
from tests.chaos.plan import SIMULATORS, Can
from tests.chaos.register import Register
from tests.chaos.wire import EVERYTHING, Session
from tests.mosquitto import Mosquitto, free_port
from tests.tcp_proxy import TcpProxy

STOP_GRACE_SECONDS = 2
RESYNC_SECONDS = 5
FIRST_SECONDS = 60.0
"""What MSO may take from its start to its first word."""
READY = "ReadyForProcessing"
QUIET_SECONDS = 0.1
"""What was on its way to the broker when everybody fell silent has arrived after this."""


class World:
    """Up while `with` lasts. What a backplane adds is in the subclasses."""

    backplane = ""
    can = Can()
    rest_seconds = 120.0
    """How long all may take to end once the last fault is over."""
    address = "127.0.0.1"
    """Where models find the register."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.board = Board()
        self.patience = Patience()
        self.happened: list[Happened] = []
        self.left_out: list[str] = []
        """What cannot be done here, one line each."""
        self.msos: list[Mso] = []
        self._broker_steady = threading.Lock()
        self._stack = ExitStack()

    @property
    def kinds(self) -> frozenset[Kind]:
        """The faults that are possible here."""
        usual = {kind for kind in Kind if kind.lane in ("mso", "broker")} - {Kind.MSO_ENDED}
        return frozenset(usual | ({Kind.CLOCK_JUMP} if self.clock else set()))

    def __enter__(self) -> Self:
        with self._stack:
            self._begin()
            self._stack = self._stack.pop_all()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stack.close()

    def left(self) -> list[str]:
        """Processes or pods of ours that are still there although all has ended."""
        raise NotImplementedError

    def pods(self) -> list[Pod]:
        """Those that were seen since this was asked last."""
        return []

    def touched(self) -> list[str]:
        """Strangers that are not as they were."""
        return []

    def logs(self) -> list[Path]:
        """Where one reads what MSO thought of late: one that was not started in a round goes on in the log before."""
        return [log for mso in self.msos for log in mso.logs[-2:]]

    def new_log(self, name: str) -> None:
        """From the next start on each MSO writes another file."""
        for number, mso in enumerate(self.msos):
            mso.log = self.directory / f"{name}{'-other' if number else ''}.log"

    @contextlib.contextmanager
    def inflict(self, fault: Fault) -> Iterator[None]:
        """A fault, from its beginning to its end. What it was done to is up and well again when this returns."""
        began = time.monotonic()
        try:
            with self._fault(fault):
                yield
        finally:
            note = f"{fault.jump:+.0f} s" if fault.jump else ""
            self.happened.append(Happened(fault.kind, began, time.monotonic(), note))

    def _begin(self) -> None:
        enter = self._stack.enter_context
        self.clock = None if (why := clock.trouble()) else enter(Clock(self.directory))
        self.left_out += [why] if why else []
        self.broker = enter(Mosquitto(self.directory / "mosquitto", max_queued_messages=0))
        self.for_mso = enter(TcpProxy(self.broker.host, self.broker.port))
        self.for_peers = enter(TcpProxy(self.broker.host, self.broker.port))
        self.judge = enter(self._session("chaos-judge", EVERYTHING))
        announcer = enter(self._session("chaos-models"))
        self.register = enter(
            Register(
                self.address,
                self.board,
                lambda simulation, model: announcer.publish(f"/lifecycle/model/mso/{simulation}/{model}/{READY}"),
                self.directory / "register.log",
            )
        )
        self.orchestrators = [
            Orchestrator(
                name,
                enter(self._session(f"chaos-{name}", (f"/lifecycle/mso/{name}/#",))),
                self.register,
                self.board,
                self.patience,
                lambda: self._broker_steady,
            )
            for name in SIMULATORS
        ]
        self._begin_msos()
        # Before it has subscribed for the first time nothing is kept for it.
        if not self.board.wait(lambda: self.judge.heard["Status"] >= len(SIMULATORS), time.monotonic() + FIRST_SECONDS):
            raise RuntimeError(f"MSO does not come up: see {', '.join(map(str, self.logs()))}")

    def _begin_msos(self) -> None:
        raise NotImplementedError

    def _add_mso(self, environment: Mapping[str, str]) -> Mso:
        usual = {
            "SIMULATOR_NAME": ",".join(SIMULATORS),
            "MQTT_HOST": "127.0.0.1",
            "MQTT_PORT": str(self.for_mso.port),
            "MQTT_USERNAME": self.broker.username,
            "MQTT_PASSWORD": self.broker.password,
            "MSO_HTTP_PORT": str(free_port()),
            "MSO_STOP_GRACE_SECONDS": str(STOP_GRACE_SECONDS),
            "MSO_RESYNC_SECONDS": str(RESYNC_SECONDS),
            "LOG_FORMAT": "json",
            **(self.clock.environment if self.clock else {}),
        }
        mso = Mso({**usual, **environment}, self.directory, self._note_own_end)
        self.msos.append(mso)
        self.new_log("mso")
        self._stack.callback(mso.kill)
        mso.start()
        return mso

    def _note_own_end(self, status: int) -> None:
        now = time.monotonic()
        self.happened.append(Happened(Kind.MSO_ENDED, now, now, f"status {status}"))
        self.board.tell()

    def _session(self, client_id: str, filters: Sequence[str] = ()) -> Session:
        return Session(self.broker, self.for_peers.port, client_id, self.board, filters)

    def _fault(self, fault: Fault) -> contextlib.AbstractContextManager[object]:
        msos = self.msos[fault.which : fault.which + 1] or self.msos
        match fault.kind:
            case Kind.MSO_KILL:
                return all_of(between(mso.kill, mso.start) for mso in msos)
            case Kind.MSO_RESTART:
                return all_of(between(mso.stop, mso.start) for mso in msos)
            case Kind.MSO_PAUSE:
                return all_of(between(mso.pause, mso.resume) for mso in msos)
            case Kind.BROKER_KILL:
                return self._broker_killed()
            case Kind.BROKER_RESTART:
                return self._broker_down()
            case Kind.BROKER_PAUSE:
                return self._broker_paused()
            case Kind.LINK_CUT:
                return between(self.for_mso.cut, self.for_mso.cut)
            case Kind.LINK_DELAY:
                return between(self.for_mso.stop_answering, self.for_mso.answer)
            case Kind.LINK_DROP:
                return between(self.for_mso.stop_answering, self._drop)
            case Kind.CLOCK_JUMP:
                assert self.clock
                turn = self.clock.jump
                return between(lambda: turn(fault.jump), lambda: turn(0.0))
            case _:
                raise NotImplementedError(fault.kind)

    def _drop(self) -> None:
        self.for_mso.cut()
        self.for_mso.answer()

    @contextlib.contextmanager
    def _broker_killed(self) -> Iterator[None]:
        """What was on its way to the broker never reaches it, what was on its way from it may never arrive."""
        proxies = (self.for_mso, self.for_peers)
        with self._broker_steady:
            for proxy in proxies:
                proxy.stop_answering()
            self.board.wait(lambda: False, time.monotonic() + QUIET_SECONDS)
            self.broker.save()
            self.broker.kill()
            for proxy in proxies:
                proxy.cut()
            try:
                yield
            finally:
                self.broker.start()
                for proxy in proxies:
                    proxy.answer()

    @contextlib.contextmanager
    def _broker_down(self) -> Iterator[None]:
        with self._broker_steady:
            self.broker.stop()
            try:
                yield
            finally:
                self.broker.start()

    @contextlib.contextmanager
    def _broker_paused(self) -> Iterator[None]:
        with self._broker_steady:
            self.broker.pause()
            try:
                yield
            finally:
                self.broker.resume()


@contextlib.contextmanager
def between(begin: Callable[[], object], end: Callable[[], object]) -> Iterator[None]:
    begin()
    try:
        yield
    finally:
        end()


@contextlib.contextmanager
def all_of(faults: Iterable[contextlib.AbstractContextManager[object]]) -> Iterator[None]:
    with ExitStack() as stack:
        for fault in faults:
            stack.enter_context(fault)
        yield


def processes_with(marker: bytes) -> list[str]:
    """Processes that carry this in their environment."""
    found = []
    for process in psutil.process_iter():
        try:
            environment = Path(f"/proc/{process.pid}/environ").read_bytes()
            if marker in environment and process.status() != psutil.STATUS_ZOMBIE:
                found.append(f"process {process.pid}: {' '.join(process.cmdline())[:200]}")
        except (OSError, psutil.Error):
            continue  # gone, or not ours to look at
    return found
