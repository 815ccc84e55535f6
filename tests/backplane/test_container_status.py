"""What the state of a container means for its model: a table of what the engine says."""

from datetime import UTC, datetime
from typing import Any

import pytest

from mso.backplane.container_status import complaints_of, end_of, end_of_gone
from mso.model import End, Failed, Reason, Succeeded

BEGAN = datetime(2026, 3, 1, 12, 0, 0, 123456, UTC)
ENDED = datetime(2026, 3, 1, 12, 5, 0, 654321, UTC)
NEVER = "0001-01-01T00:00:00Z"
DELETED = "somebody deleted its container"


def state(status: str, code: int = 0, **more: Any) -> dict[str, Any]:
    usual = {
        "Status": status,
        "ExitCode": code,
        "OOMKilled": False,
        "Error": "",
        "StartedAt": "2026-03-01T12:00:00.123456789Z",
        "FinishedAt": "2026-03-01T12:05:00.654321987Z",
    }
    return {"State": usual | more}


@pytest.mark.parametrize("status", ("created", "running", "paused", "restarting"))
def test_it_lives_or_has_not_begun(status: str) -> None:
    """Nothing has ended, whatever was before."""
    assert end_of(state(status, 137), told=False) is None


@pytest.mark.parametrize(
    ("seen", "told", "end"),
    (
        (state("exited"), False, Succeeded(BEGAN, ENDED)),
        (state("exited", 3), False, Failed(3, Reason.ERROR, "exit code 3", BEGAN, ENDED)),
        (state("dead", 3), False, Failed(3, Reason.ERROR, "exit code 3", BEGAN, ENDED)),
        (state("exited", 139), False, Failed(139, Reason.ERROR, "killed by signal 11 (SIGSEGV)", BEGAN, ENDED)),
        (state("exited", 255), False, Failed(255, Reason.ERROR, "exit code 255", BEGAN, ENDED)),
        (
            state("exited", 128, Error="no disk"),
            False,
            Failed(128, Reason.ERROR, "exit code 128: no disk", BEGAN, ENDED),
        ),
        (
            state("exited", 137, OOMKilled=True),
            False,
            Failed(137, Reason.OOM_KILLED, "it used more memory than its limit", BEGAN, ENDED),
        ),
        # A process beside it was killed, and it went on.
        (state("exited", 0, OOMKilled=True), False, Succeeded(BEGAN, ENDED)),
        # We had it end: without a time.
        (state("exited", 0), True, Succeeded(BEGAN, None)),
        (state("exited", 143), True, Failed(143, Reason.ERROR, "killed by signal 15 (SIGTERM)", BEGAN, None)),
        (state("removing", 137), True, Failed(137, Reason.ERROR, "killed by signal 9 (SIGKILL)", BEGAN, None)),
        # It is being deleted: by force, or after it had ended by itself.
        (state("removing", 137), False, Failed(137, Reason.POD_DELETED, f"{DELETED} while it ran", BEGAN, None)),
        (state("removing", 0), False, Succeeded(BEGAN, ENDED)),
        (state("removing", 4), False, Failed(4, Reason.ERROR, "exit code 4", BEGAN, ENDED)),
        (state("removing", 0, StartedAt=NEVER, FinishedAt=NEVER), False, Failed(-1, Reason.POD_DELETED, DELETED)),
    ),
)
def test_how_it_ended(seen: dict[str, Any], told: bool, end: End) -> None:
    """By itself, by us, or because somebody deleted it; times are the engine's, in UTC."""
    assert end_of(seen, told=told) == end


@pytest.mark.parametrize(
    ("code", "end"),
    (
        (None, Failed(-1, Reason.POD_DELETED, DELETED)),
        (137, Failed(137, Reason.POD_DELETED, DELETED)),
        (0, Succeeded(None, ENDED)),
        (5, Failed(5, Reason.ERROR, "exit code 5", None, ENDED)),
    ),
)
def test_how_it_ended_when_it_is_gone(code: int | None, end: End) -> None:
    """By what the engine said of its death; SIGKILL is how a deletion by force begins."""
    assert end_of_gone(code, ENDED) == end


def test_what_the_engine_complains_of() -> None:
    """A start that failed, and processes that ran out of memory although the model went on."""
    assert complaints_of(state("running")) == ()
    assert complaints_of(state("created", Error="no such network")) == ("no such network",)
    assert "more memory" in complaints_of(state("running", OOMKilled=True))[0]
