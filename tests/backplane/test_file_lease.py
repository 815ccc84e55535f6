"""The lease of one machine: real processes that are killed and stopped, and files that somebody meddles with."""

import asyncio
import errno
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from mso.backplane import BackplaneError
from mso.backplane.lease import POLL_SECONDS, FileLease
from tests.contract.contender import Contender, Waiting
from tests.happening import Happening

AT_ONCE = 3.0
"""Seconds; what a few tries take, on a machine that has other things to do."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "lease"


@pytest.fixture
def holder(path: Path) -> Iterator[Contender]:
    """A process that has it."""
    with Contender("file", str(path)) as holder:
        holder.wait_for("acquired")
        yield holder


async def test_the_file_is_for_nobody_else_to_read_and_says_who_has_it(path: Path) -> None:
    """A process id and an identity while somebody has it, and nothing afterwards."""
    async with FileLease(path) as lease:
        await Waiting(lease).until_it_is_ours()
        assert path.read_text() == f"{os.getpid()} {lease.identity}\n"
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.parent.stat().st_mode & 0o777 == 0o700
    assert path.read_text() == ""


@pytest.mark.process
async def test_a_kill_frees_it_at_once(path: Path, holder: Contender) -> None:
    """The kernel does it: there is nothing to run out, and what the dead one left in the file is replaced."""
    async with FileLease(path) as lease:
        waiting = Waiting(lease)
        await waiting.until_told()
        holder.send(signal.SIGKILL)
        await waiting.until_it_is_ours(AT_ONCE)
        assert waiting.told == [holder.wait_for("opened")["identity"]]
        assert path.read_text() == f"{os.getpid()} {lease.identity}\n"


@pytest.mark.process
async def test_a_clean_end_hands_it_over_at_once(path: Path, holder: Contender) -> None:
    """SIGTERM."""
    async with FileLease(path) as lease:
        waiting = Waiting(lease)
        await waiting.until_told()
        holder.send(signal.SIGTERM)
        await waiting.until_it_is_ours(AT_ONCE)
    holder.wait_for("left")
    assert holder.process.wait(AT_ONCE) == 0


@pytest.mark.process
async def test_a_holder_that_is_stopped_is_never_deposed(
    path: Path, holder: Contender, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often it is tried: after SIGCONT it goes on as if nothing had been."""
    tried = Happening()
    tries = 0
    flock = fcntl.flock

    def counted(descriptor: int, operation: int) -> None:
        nonlocal tries
        tries += 1
        tried.tell()
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", counted)
    holder.send(signal.SIGSTOP)
    async with FileLease(path) as lease:
        waiting = Waiting(lease)
        await tried.until(lambda: tries > 2 / POLL_SECONDS)
        assert not waiting.task.done()
        assert waiting.told == [holder.wait_for("opened")["identity"]]
        holder.send(signal.SIGCONT)
        holder.send(signal.SIGTERM)
        await waiting.until_it_is_ours(AT_ONCE)
    holder.wait_for("left")
    assert holder.said("lost") == []


_PARENT = """
import asyncio, subprocess, sys
from pathlib import Path
from mso.backplane.lease import FileLease

async def main():
    async with FileLease(Path(sys.argv[1])) as lease:
        await lease.acquire(print)
        child = subprocess.Popen(["sleep", "600"], close_fds=False, stdout=subprocess.DEVNULL)
        print(child.pid, flush=True)
        await lease.keep()

asyncio.run(main())
"""


@pytest.mark.process
async def test_a_child_of_the_holder_does_not_keep_it(path: Path) -> None:
    """Models outlive the MSO that started them; the lease does not."""
    with subprocess.Popen([sys.executable, "-c", _PARENT, str(path)], stdout=subprocess.PIPE) as parent:
        assert parent.stdout
        child = psutil.Process(int(await asyncio.to_thread(parent.stdout.readline)))
        try:
            async with FileLease(path) as lease:
                waiting = Waiting(lease)
                await waiting.until_told()
                parent.kill()
                await waiting.until_it_is_ours(AT_ONCE)
                assert child.is_running()
        finally:
            parent.kill()
            child.kill()


async def test_a_child_that_is_being_forked_does_not_keep_it_from_who_comes_after_a_clean_end(path: Path) -> None:
    """It has a copy of the descriptor, and with it the lock, until it is another program."""
    async with FileLease(path) as second:
        async with FileLease(path) as first:
            await Waiting(first).until_it_is_ours()
            copy = os.dup(_descriptor_that_has_it(path))
        try:
            await Waiting(second).until_it_is_ours(AT_ONCE)
        finally:
            os.close(copy)


async def test_to_give_up_takes_no_longer_than_to_say_so(path: Path) -> None:
    """The loop is never blocked, and a wait can be cancelled at any time."""
    async with FileLease(path) as first, FileLease(path) as second:
        await Waiting(first).until_it_is_ours()
        waiting = Waiting(second)
        await waiting.until_told()
        began = time.monotonic()
        waiting.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting.task
        assert time.monotonic() - began < POLL_SECONDS


async def test_a_file_that_was_deleted_is_no_lease_any_more(path: Path) -> None:
    """Who waited for it goes over to the one that all others find."""
    async with FileLease(path) as second:
        async with FileLease(path) as first:
            await Waiting(first).until_it_is_ours()
            waiting = Waiting(second)
            await waiting.until_told()
            path.unlink()
        await waiting.until_it_is_ours(AT_ONCE)
        async with FileLease(path) as third:
            last = Waiting(third)
            await last.until_told()
            assert last.told == [second.identity]
            last.task.cancel()


async def test_a_disk_that_is_full_leaves_the_holder_without_a_name(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock holds all the same."""

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", full)
    async with FileLease(path) as first, FileLease(path) as second:
        await Waiting(first).until_it_is_ours()
        waiting = Waiting(second)
        await waiting.until_told()
        assert waiting.told == ["unknown"]
        waiting.task.cancel()


async def test_a_place_where_no_file_can_be_is_an_error_of_ours(tmp_path: Path) -> None:
    """Whoever set it hears of it at the start, and the path is named."""
    (tmp_path / "file").touch()
    with pytest.raises(BackplaneError, match=str(tmp_path / "file")):
        await FileLease(tmp_path / "file" / "lease").__aenter__()


async def test_a_file_system_without_locks_is_an_error_of_ours(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To wait would help nobody."""

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    async with FileLease(path) as lease:
        with monkeypatch.context() as patched:
            patched.setattr(fcntl, "flock", refuse)
            with pytest.raises(BackplaneError, match=f"cannot lock {path}"):
                await lease.acquire(pytest.fail)


def _descriptor_that_has_it(path: Path) -> int:
    """Of the two in this process that have the file open, the one whose lock is held can be locked again."""
    for file in psutil.Process().open_files():
        if file.path == str(path):
            try:
                fcntl.flock(file.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            return file.fd
    raise AssertionError("nobody has it")
