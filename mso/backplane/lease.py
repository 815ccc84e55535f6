"""One at a time: of all MSOs that look after the same models one is active, and the others wait (fault R3).

- Only the holder of the lease acts. Whoever waits does nothing but wait.
- A holder yields to another holder that it sees, and to nothing else: neither to a clock, nor to an API that is away.
- It cannot be stopped between its look at the lease and its next act, so a lease does not make late acts impossible,
  only rare. That they do no harm is up to what is acted upon.

Here are the contract and the lease for models of this machine; kubernetes_lease.py has the one for pods. tests/contract
holds both to it.
"""

import asyncio
import fcntl
import os
import secrets
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Protocol, Self

from mso.backplane import BackplaneError

POLL_SECONDS = 0.25
"""Between two tries to lock the file: the kernel can only wait for it in a way that cannot be cancelled."""

_UNKNOWN = "unknown"


class LeaseLostError(Exception):
    """Another process holds the lease."""

    def __init__(self, holder: str) -> None:
        super().__init__(f"another process holds the lease: {holder}")
        self.holder = holder


class Lease(Protocol):
    """The right to be the active one. `async with` opens it; `acquire` once, then `keep` as long as it is needed.

    Whatever calls `acquire`, `keep` and `confirm` has ended when the block is left.
    """

    @property
    def identity(self) -> str:
        """Who we are: host, process, and something that no later process has as well."""
        ...

    @property
    def holder(self) -> str:
        """The identity of who has it, as far as is known here; empty if nobody is known. For logs."""
        ...

    async def __aenter__(self) -> Self:
        """Raises BackplaneError when there can be no lease here, saying why."""
        ...

    async def __aexit__(self, *exc_info: object) -> None:
        """Let go of it if it is ours, so that who waits has it at once. Takes 3 s at most, whatever is in the way."""
        ...

    async def acquire(self, waiting: Callable[[str], None]) -> None:
        """Wait until it is ours. `waiting` is told who has it, once for each holder that becomes known.

        Trouble that may pass is logged and waited out. Raises BackplaneError for what cannot pass.
        """
        ...

    async def keep(self) -> None:
        """Keep it; endless. Raises LeaseLostError when another holder is seen, and only then."""
        ...

    async def confirm(self) -> None:
        """Returns when it is certain enough that it is still ours to begin something new, such as a connection.

        At once where that is known; else it looks, as long as it takes. Raises LeaseLostError.
        """
        ...


def new_identity() -> str:
    """`<hostname>-<pid>-<random>`."""
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"


class FileLease:
    """For models of this machine: a lock on a file, which the kernel frees when the process ends, however it ends.

    A holder that is stopped keeps it: nobody can be deposed. The file says who has it (process id, identity), and
    stays when nobody does; only the lock counts.
    """

    def __init__(self, path: Path) -> None:
        self._path = path.absolute()
        self.identity = new_identity()
        self._holder = ""

    @property
    def holder(self) -> str:
        return self._holder

    async def __aenter__(self) -> Self:
        """Makes the file, and its directory, for nobody else to read. Raises BackplaneError if that cannot be."""
        self._descriptor = self._open()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        if self._holder == self.identity:
            with suppress(OSError):
                os.truncate(self._descriptor, 0)
            # A child that is being forked just now has a copy of the descriptor: to close ours would free nothing yet.
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)
            self._holder = ""
        os.close(self._descriptor)

    async def acquire(self, waiting: Callable[[str], None]) -> None:
        """Also waits for a child that a dead MSO was forking: it has the lock until it has become another program."""
        nameless = False
        while not self._lock():
            holder = self._named()
            if not holder and not nameless:
                nameless = True  # it has the lock since just now, and is about to write its name
            elif (holder or _UNKNOWN) != self._holder:
                self._holder = holder or _UNKNOWN
                waiting(self._holder)
            await asyncio.sleep(POLL_SECONDS)
        self._holder = self.identity
        self._write_name()

    async def keep(self) -> None:
        await asyncio.Event().wait()

    async def confirm(self) -> None:
        """Returns at once: the kernel takes a lock from nobody."""

    def _open(self) -> int:
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            return os.open(self._path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise BackplaneError(f"cannot open {self._path}: {error.strerror}") from error

    def _lock(self) -> bool:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            raise BackplaneError(f"cannot lock {self._path}: {error.strerror}") from error
        if self._is_in_place():
            return True
        os.close(self._descriptor)
        self._descriptor = self._open()
        return False

    def _is_in_place(self) -> bool:
        """Whether what we have open is what others open: somebody may have deleted the file while we waited."""
        try:
            return os.path.samestat(os.fstat(self._descriptor), self._path.stat())
        except OSError:
            return False

    def _named(self) -> str:
        """The identity in the file; empty if there is none."""
        fields = os.pread(self._descriptor, 1000, 0).decode(errors="replace").split()
        return fields[1] if len(fields) > 1 else ""

    def _write_name(self) -> None:
        name = f"{os.getpid()} {self.identity}\n".encode()
        with suppress(OSError):  # the disk is full: the lock holds all the same, and who waits cannot say for whom
            os.truncate(self._descriptor, 0)
            os.pwrite(self._descriptor, name, 0)
