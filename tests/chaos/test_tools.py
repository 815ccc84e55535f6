"""The tools of the chaos do what the judge believes of them: the register, the model, the clock, the disk."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.chaos import clock, disk
from tests.chaos.board import Board
from tests.chaos.clock import Clock
from tests.chaos.disk import SmallDisk
from tests.chaos.evidence import Life, Played
from tests.chaos.plan import Fate, Manner, ModelPlan, OnTerm, RunPlan
from tests.chaos.register import Register

pytestmark = pytest.mark.process

PATIENCE = 20.0
PROGRAM = Path(__file__).with_name("model.py")


class Desk:
    """A register, and models that are started by hand."""

    def __init__(self, directory: Path) -> None:
        self.board = Board()
        self.announced: list[tuple[str, str]] = []
        self.register = Register("127.0.0.1", self.board, self._announce, directory / "book")

    def _announce(self, simulation: str, model: str) -> None:
        self.announced.append((simulation, model))
        self.board.tell()

    def expect(self, fate: Fate, *, all_said: bool = True) -> Played:
        run = Played(RunPlan("1", "sim", Manner.PATIENT, ((ModelPlan("m", fate),),)), "sim", 0.0, all_said=all_said)
        self.register.expect(run)
        return run

    def start(self) -> tuple[subprocess.Popen[bytes], Life]:
        before = len(self.register.lives)
        names = {"SIMULATION_ID": "sim", "MODEL_ID": "m", "REGISTER": self.register.address}
        process = subprocess.Popen([sys.executable, "-I", "-S", PROGRAM], env=names)
        self.until(lambda: len(self.register.lives) > before)
        return process, self.register.lives[-1]

    def until(self, look: Callable[[], object]) -> None:
        assert self.board.wait(look, time.monotonic() + PATIENCE)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path)
    with desk.register:
        yield desk


@pytest.mark.parametrize("code", (0, 7, -9))
def test_a_life_is_seen_from_its_first_word_to_its_last_breath(desk: Desk, code: int) -> None:
    run = desk.expect(Fate((code,), lasts=0.1, ready=None))
    process, life = desk.start()
    assert process.wait(PATIENCE) == code
    desk.until(lambda: life.ended)
    assert (life.run, life.number, life.said, life.termed) == (run, 1, code, None)
    assert desk.announced == []


def test_a_second_life_ends_as_planned_for_it(desk: Desk) -> None:
    desk.expect(Fate((5, 0), lasts=0.0))
    codes = []
    for number in (1, 2):
        process, life = desk.start()
        codes.append(process.wait(PATIENCE))
        assert life.number == number
    assert codes == [5, 0]


def test_a_model_waits_for_its_release_and_is_announced_when_all_was_said(desk: Desk) -> None:
    run = desk.expect(Fate((3,), ready=0.0), all_said=False)
    process, life = desk.start()
    assert desk.announced == []
    desk.register.all_said(run)
    desk.until(lambda: desk.announced == [("sim", "m")])
    assert life.ended is None
    desk.register.release(run)
    assert process.wait(PATIENCE) == 3


@pytest.mark.parametrize(("way", "code"), ((OnTerm.ENDS, 143), (OnTerm.ENDS_WELL, 0), (OnTerm.IGNORES, -9)))
def test_sigterm_is_answered_as_planned(desk: Desk, way: OnTerm, code: int) -> None:
    desk.expect(Fate(on_term=way, endless=True, ready=0.0))
    process, life = desk.start()
    desk.until(lambda: desk.announced)
    time.sleep(0.5)  # its orders are on their way, and it does not say when it has read them
    while life.termed is None:
        process.send_signal(signal.SIGTERM)
        desk.board.wait(lambda: life.termed, time.monotonic() + 0.2)
    if way is OnTerm.IGNORES:
        process.kill()
    process.wait(PATIENCE)
    desk.until(lambda: life.ended)
    assert (process.returncode, life.said) == (code, None if code == -9 else code)


def test_nobody_asked_for_a_model_that_is_not_expected(desk: Desk) -> None:
    process, life = desk.start()
    process.wait(PATIENCE)
    assert life.run is None


def test_nothing_outlives_the_register(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    with desk.register:
        desk.expect(Fate(endless=True))
        process, _ = desk.start()
    assert process.wait(PATIENCE) != 0


@pytest.mark.skipif(bool(clock.trouble()), reason=clock.trouble())
def test_a_clock_jumps_and_nothing_else_does(tmp_path: Path) -> None:
    """The time of day is wrong at once, in a process that runs; what sleeps and measures spans is not."""
    program = """
import datetime, sys, time
for line in sys.stdin:
    began = time.monotonic()
    time.sleep(0.05)
    print(time.time(), datetime.datetime.now().timestamp(), time.monotonic() - began, flush=True)
"""
    with Clock(tmp_path) as turned:
        process = subprocess.Popen(
            [sys.executable, "-c", program],
            env={**os.environ, **turned.environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdin
        assert process.stdout
        for jump in (0.0, 3600.0, -7200.0, 0.0):
            turned.jump(jump)
            process.stdin.write("\n")
            process.stdin.flush()
            seconds, date, slept = map(float, process.stdout.readline().split())
            assert seconds - time.time() == pytest.approx(jump, abs=5)
            assert date == pytest.approx(seconds, abs=1)
            assert 0.04 < slept < 5
        process.stdin.close()
        process.stdout.close()
        assert process.wait(PATIENCE) == 0


@pytest.mark.skipif(bool(disk.trouble()), reason=disk.trouble())
def test_a_disk_is_full_and_free_again(tmp_path: Path) -> None:
    path = tmp_path / "disk"
    with SmallDisk(path) as small:
        small.fill()
        with pytest.raises(OSError, match="No space left"):
            (path / "file").write_text("x")
        small.free()
        (path / "file").write_text("x")
    assert list(path.iterdir()) == []
