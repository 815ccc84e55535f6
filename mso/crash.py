"""Crash points: places between two durable steps, by name, at which a test has this process killed (-9).

Recovery is proven from each of them (tests/integration/test_crash_points.py). Unless armed they do nothing.
"""

import os
import signal

POINTS = (
    "record.before-commit",
    "record.after-commit",
    "intake.before-acknowledge",
    "deploy.before",
    "deploy.after",
    "announce.before-mark",
    "announce.before-send",
    "announce.after-send",
    "announce.before-done",
    "send.after-send",
    "send.after-acknowledge",
    "remove.before",
    "remove.after",
)

_armed: dict[str, int] = {}


def arm(text: str) -> None:
    """`point` or `point:n`: be killed when the point is reached for the n-th time. Raises ValueError."""
    point, _, times = text.partition(":")
    if point not in POINTS:
        raise ValueError(f"no crash point {point!r}; there are {', '.join(POINTS)}")
    _armed[point] = int(times or 1)


def reached(point: str) -> None:
    """The process is at this point."""
    if not _armed or point not in _armed:
        return
    _armed[point] -= 1
    if _armed[point] == 0:
        os.kill(os.getpid(), signal.SIGKILL)
