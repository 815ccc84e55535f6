"""What the state of a container means for its model. Pure: what the engine says in, an end or None out.

A removal that somebody asked for by force kills the process first, and the engine then says `removing`: that, and no
comparison of times, tells it from an end that the model came to by itself.

https://docs.docker.com/reference/api/engine/version/v1.41/#tag/Container/operation/ContainerInspect
"""

from datetime import UTC, datetime

from mso.backplane.codes import in_words
from mso.backplane.containers import Json
from mso.model import NO_EXIT_CODE, End, Failed, Reason, Succeeded

KILLED = 137
"""The exit code of what got SIGKILL."""

_OVER = ("exited", "dead", "removing")
_DELETED = "somebody deleted its container"


def end_of(inspected: Json, *, told: bool) -> End | None:
    """How the model ended; None while it lives, or has not begun. `told`: we had its container end."""
    state = inspected["State"]
    if state["Status"] not in _OVER:
        return None
    code: int = state["ExitCode"]
    began, finished = _time(state.get("StartedAt")), _time(state.get("FinishedAt"))
    if began is None:
        return Failed(NO_EXIT_CODE, Reason.POD_DELETED, _DELETED)
    if told:
        return _end(code, in_words(code), began, None)
    if code and state.get("OOMKilled"):
        return Failed(code, Reason.OOM_KILLED, "it used more memory than its limit", began, finished)
    if state["Status"] == "removing" and code == KILLED:
        return Failed(code, Reason.POD_DELETED, f"{_DELETED} while it ran", began)
    complaint = state.get("Error") or ""
    return _end(code, f"{in_words(code)}: {complaint}" if complaint else in_words(code), began, finished)


def end_of_gone(code: int | None, died_at: datetime | None) -> End:
    """How it ended where the container is gone: `code` and `died_at` are what the engine said of its death, if any."""
    if code is None or code == KILLED:
        return Failed(NO_EXIT_CODE if code is None else code, Reason.POD_DELETED, _DELETED)
    return _end(code, in_words(code), None, died_at)


def complaints_of(inspected: Json) -> tuple[str, ...]:
    """What the engine itself has to complain of about the container."""
    state = inspected["State"]
    killed = "a process in it was killed: it used more memory than its limit" if state.get("OOMKilled") else ""
    return tuple(complaint for complaint in (state.get("Error") or "", killed) if complaint)


def _end(code: int, words: str, began: datetime | None, finished: datetime | None) -> End:
    return Failed(code, Reason.ERROR, words, began, finished) if code else Succeeded(began, finished)


def _time(text: str | None) -> datetime | None:
    """The engine writes nanoseconds, and the year 1 for what has not happened."""
    if not text or text.startswith("0001-"):
        return None
    return datetime.fromisoformat(text).astimezone(UTC)
