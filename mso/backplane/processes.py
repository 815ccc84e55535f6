"""What the operating system knows of processes: since when one lives, who is in a group, and the moment one ends.

Process ids are used again, so an id that was written down is believed only together with the boot and the start time
that were written beside it. Linux >= 5.3 (pidfd) and macOS (kqueue); what is for macOS was written from its manual
pages and has not been run there.
"""

import asyncio
import os
import resource
import select
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

OPEN_FILES = 65536
"""What the soft limit of open files is raised to, as far as the hard one allows: following a process costs one."""

if sys.platform == "linux":

    @cache
    def boot_id() -> str:
        """Which start of the machine this is."""
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()

    def _stat(pid: int) -> list[str] | None:
        """The fields of /proc/PID/stat from the third on: the second may hold blanks and brackets."""
        try:
            return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            return None

    def start_time(pid: int) -> str | None:
        """When the process began, in the words of the shim; None if there is no such process."""
        fields = _stat(pid)
        return fields[19] if fields else None

    def members(group: int) -> list[int]:
        """The processes of a group, without those that are dead and only wait to be collected."""
        found = []
        for entry in os.scandir("/proc"):
            if entry.name.isdecimal() and (fields := _stat(int(entry.name))):
                state, _, its_group = fields[:3]
                if int(its_group) == group and state not in "ZX":
                    found.append(int(entry.name))
        return found

    class Exits:
        """Calls back, on the running loop, when a process has ended: children and others alike."""

        def __init__(self) -> None:
            self._loop = asyncio.get_running_loop()
            self._followed: set[int] = set()

        def follow(self, pid: int, ended: Callable[[], None]) -> None:
            """Raises ProcessLookupError if there is no such process, and OSError if no descriptor is left."""
            descriptor = os.pidfd_open(pid)
            self._followed.add(descriptor)
            self._loop.add_reader(descriptor, self._fire, descriptor, ended)

        def close(self) -> None:
            for descriptor in list(self._followed):
                self._release(descriptor)

        def _fire(self, descriptor: int, ended: Callable[[], None]) -> None:
            self._release(descriptor)
            ended()

        def _release(self, descriptor: int) -> None:
            self._loop.remove_reader(descriptor)
            self._followed.discard(descriptor)
            os.close(descriptor)

else:

    def _ps(*arguments: str) -> str:
        plain = {"PATH": os.defpath, "LC_ALL": "C"}  # the shim has no locale either: dates must look the same
        return subprocess.run(["ps", *arguments], capture_output=True, text=True, check=False, env=plain).stdout

    @cache
    def boot_id() -> str:
        """Which start of the machine this is."""
        command = ["sysctl", "-n", "kern.bootsessionuuid"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    def start_time(pid: int) -> str | None:
        """When the process began, in the words of the shim; None if there is no such process."""
        return _ps("-o", "lstart=", "-p", str(pid)).strip() or None

    def members(group: int) -> list[int]:
        """The processes of a group, without those that are dead and only wait to be collected."""
        rows = (line.split() for line in _ps("-A", "-o", "pid=,pgid=,stat=").splitlines())
        return [int(pid) for pid, its_group, state in rows if int(its_group) == group and not state.startswith("Z")]

    class Exits:
        """Calls back, on the running loop, when a process has ended: children and others alike."""

        def __init__(self) -> None:
            self._loop = asyncio.get_running_loop()
            self._followed: dict[int, list[Callable[[], None]]] = {}
            self._queue = select.kqueue()
            self._loop.add_reader(self._queue.fileno(), self._fire)

        def follow(self, pid: int, ended: Callable[[], None]) -> None:
            """Raises ProcessLookupError if there is no such process, and OSError if no descriptor is left."""
            event = select.kevent(
                pid, select.KQ_FILTER_PROC, select.KQ_EV_ADD | select.KQ_EV_ONESHOT, select.KQ_NOTE_EXIT
            )
            self._queue.control([event], 0, 0)
            self._followed.setdefault(pid, []).append(ended)

        def close(self) -> None:
            self._loop.remove_reader(self._queue.fileno())
            self._queue.close()

        def _fire(self) -> None:
            for event in self._queue.control(None, 64, 0):
                for ended in self._followed.pop(event.ident, []):
                    ended()


def reap(pid: int) -> int | None:
    """Collect a child that has ended: its exit code, or minus the signal that killed it; None if there is none."""
    try:
        collected, status = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return None
    return os.waitstatus_to_exitcode(status) if collected else None


def signal_group(group: int, number: signal.Signals) -> bool:
    """Signal every process of a group, stopped ones too; False if there was none left."""
    try:
        os.killpg(group, number)
        os.killpg(group, signal.SIGCONT)
    except (ProcessLookupError, PermissionError):  # macOS: EPERM for a group of which only the dead are left
        return False
    return True


def survivors(group: int, began: str) -> list[int]:
    """Who is left of the group of a leader that began then; empty if its id belongs to somebody else by now."""
    try:
        os.killpg(group, 0)  # the cheap question first: nearly always there is nobody
    except (ProcessLookupError, PermissionError):
        return []
    if start_time(group) not in (None, began):
        return []
    return members(group)


def raise_open_files_limit() -> None:
    """Ask for as many descriptors as there may be models."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
