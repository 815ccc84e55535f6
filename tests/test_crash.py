"""The points at which a test has the service killed."""

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mso import crash

SOURCES = sorted((Path(__file__).parent.parent / "mso").rglob("*.py"))

PROGRAM = """
from mso import crash
crash.arm({armed!r})
for number in range(1, 4):
    for point in crash.POINTS:
        print(number, point, flush=True)
        crash.reached(point)
"""


def life(armed: str) -> tuple[int, list[str]]:
    """How a process ends that comes by every point three times, and where it had come."""
    program = PROGRAM.format(armed=armed)
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    return ended.returncode, ended.stdout.splitlines()


@pytest.mark.process
@pytest.mark.parametrize(
    ("armed", "last"),
    (
        ("record.before-commit", "1 record.before-commit"),
        ("remove.after", "1 remove.after"),
        ("deploy.after:1", "1 deploy.after"),
        ("deploy.after:3", "3 deploy.after"),
    ),
)
def test_a_process_is_killed_where_it_is_armed(armed: str, last: str) -> None:
    """As by kill -9, when it comes there for the time that was said; nothing is done before that or after."""
    status, came = life(armed)
    assert status == -signal.SIGKILL
    assert came[-1] == last


@pytest.mark.process
def test_a_process_that_never_comes_there_lives() -> None:
    """It did so less often than was said."""
    status, came = life("deploy.after:4")
    assert status == 0
    assert len(came) == 3 * len(crash.POINTS)


def test_unless_it_is_armed_nothing_happens() -> None:
    """In the service of an operator there are no such points."""
    for point in crash.POINTS:
        crash.reached(point)


@pytest.mark.parametrize("armed", ("", "nowhere", "nowhere:2", ":2", "record.before-commit:often"))
def test_what_is_no_point_is_refused(armed: str) -> None:
    """A test that would never be killed says so at once."""
    with pytest.raises(ValueError, match=r"no crash point|invalid literal"):
        crash.arm(armed)


def test_every_point_is_somewhere_and_every_place_is_a_point() -> None:
    """None is reached that cannot be armed, none can be armed that is never reached, and each is one place."""
    found = [point for path in SOURCES for point in re.findall(r'reached\("([^"]+)"\)', path.read_text())]
    assert sorted(found) == sorted(crash.POINTS)
