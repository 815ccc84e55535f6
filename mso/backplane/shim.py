"""Starting an attempt through its shim, and finding out what became of one. Everything here blocks: run it in a thread.

Exactly once: the model is prepared on disk, then the lock is taken, then the shim is started with the lock as its
standard input, then the shim writes `started`, then the command runs. Whoever comes between two of these steps finds
out from the lock and the files what is left to do; docs/decisions/0002-local-shim.md goes through them.
"""

import os
import shutil
import signal
import subprocess
from datetime import UTC, datetime
from enum import Enum, auto
from functools import cache
from pathlib import Path

from mso.backplane.attempts import AttemptFiles, Started, discard, end_of
from mso.backplane.images import Launch
from mso.backplane.processes import boot_id, signal_group, start_time, survivors
from mso.model import NO_EXIT_CODE, End, Failed, Model, Reason

SCRIPT = Path(__file__).with_name("shim.sh")

_KILLED = 128 + signal.SIGKILL
_SYSTEM_PATH = "/usr/bin:/bin:/usr/sbin:/sbin"


class Phase(Enum):
    """Where an attempt stands that neither runs for certain nor has ended."""

    PREPARED = auto()
    """Never started, and nobody is about to."""
    STARTING = auto()
    """Somebody holds the lock and has not yet written `started`: in a moment it runs, or is gone."""


class BusyError(Exception):
    """Somebody else starts this attempt, or looks at its lock, this very moment."""


@cache
def _shell() -> str:
    """dash starts faster and takes a third of the memory of other shells."""
    return shutil.which("dash", path="/bin:/usr/bin") or "/bin/sh"


def start(files: AttemptFiles, model: Model, launch: Launch) -> int | None:
    """Start the attempt unless it was started before: the pid of its shim, or None.

    Raises OSError, and BusyError when somebody else is at it this very moment.
    """
    if not files.prepare(model, boot_id()):
        return None
    lock, mine = files.open_lock()
    try:
        if files.decided():
            return None
        if not mine:
            raise BusyError("its lock is held by somebody who has not begun yet")
        return _spawn(files, launch, lock)
    finally:
        os.close(lock)


def abandon(root: Path, files: AttemptFiles) -> None:
    """Forget an attempt that could not be started, unless somebody did start it."""
    try:
        lock, mine = files.open_lock()
    except FileNotFoundError:
        return
    try:
        if mine and not files.decided():
            discard(root, files.path)
    finally:
        os.close(lock)


def _spawn(files: AttemptFiles, launch: Launch, lock: int) -> int:
    directory = launch.directory or files.path / "work"
    if launch.directory is None:
        directory.mkdir(mode=0o700, exist_ok=True)
    variables = [f"{name}={value}".encode("utf-8", "surrogatepass") for name, value in launch.environment.items()]
    environment = {f"_mso_{number}".encode(): variable for number, variable in enumerate(variables)}
    search_path = os.fsencode(f"{os.environ.get('PATH', '')}:{_SYSTEM_PATH}")
    with files.log.open("ab") as output:
        shim = subprocess.Popen(
            [_shell(), SCRIPT, files.path, directory, str(len(variables)), *launch.command],
            env={b"PATH": search_path, **environment},
            stdin=lock,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    shim.returncode = 0  # collected by `reap`, like one that an earlier MSO started; Popen is to forget it
    return shim.pid


def inspect(files: AttemptFiles) -> End | Started | Phase:
    """How it ended, who runs it, or where it stands. Raises OSError."""
    if end := files.end():
        return end
    if files.locked():
        started = files.started()
        # A process that is being forked has a copy of every descriptor for an instant: a lock alone proves no life.
        return Phase.STARTING if started is None else started if is_alive(started) else conclude(files, None)
    if not files.decided():
        return Phase.PREPARED if files.prepared_in() == boot_id() else _lost_with_the_machine(files.started())
    return conclude(files, None)


def is_alive(started: Started) -> bool:
    """Whether the process of that id is still the shim that wrote it down."""
    return started.boot == boot_id() and start_time(started.pid) == started.began


def conclude(files: AttemptFiles, status: int | None) -> End:
    """How an attempt ended whose shim is gone. What the shim left behind is killed.

    `status` is what the shim itself ended with, where it was a child of ours: its exit code, or minus a signal.
    """
    if end := files.end():
        return end
    started = files.started()
    if started and started.boot != boot_id():
        return _lost_with_the_machine(started)
    clear(files)
    if status is not None and status >= 0 and (started or not files.path.exists()):
        # It could not write: the disk is full, or its files are gone.
        return end_of(status, started, None if files.stopped() else datetime.now(UTC))
    started_at = started.at if started else None
    if files.stopped():
        if not files.began():
            return Failed(NO_EXIT_CODE, Reason.ERROR, "stopped before it began")
        return Failed(_KILLED, Reason.ERROR, "killed by signal 9 (SIGKILL)", started_at)
    if not files.path.exists():
        return Failed(NO_EXIT_CODE, Reason.POD_DELETED, f"somebody deleted {files.path}")
    if started is None:
        if not files.began():
            files.begin_in_vain()
        return Failed(NO_EXIT_CODE, Reason.DEPLOY_FAILED, f"the shim could not begin; see {files.log}")
    message = f"its shim, process {started.pid}, was killed: the exit code of the model is unknown"
    return Failed(_KILLED, Reason.POD_DELETED, message, started_at)


def clear(files: AttemptFiles) -> list[int]:
    """Kill what a shim that is gone left behind in its group; returns whom."""
    started = files.started()
    if started is None or started.boot != boot_id():
        return []
    left = survivors(started.pid, started.began)
    if left:
        signal_group(started.pid, signal.SIGKILL)
    return left


def _lost_with_the_machine(started: Started | None) -> Failed:
    return Failed(
        NO_EXIT_CODE, Reason.NODE_LOST, "the machine was restarted", started_at=started.at if started else None
    )
