"""Models as processes on this machine: no Docker, no cluster. Linux and macOS.

Each attempt is a process group under a shim (shim.sh) that outlives MSO, with its files in a directory of its own
(attempts.py). The files are the truth, and the periodic listing reads them; that the kernel reports the end of a shim
is for speed. What an image means is decided by a file on this machine (images.py), never by the message.
"""

import asyncio
import errno
import os
import signal
import time
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import structlog

from mso.backplane import BackplaneError, Capabilities, DeployError, Listed, Mark, Observation
from mso.backplane.attempts import AttemptFiles, RunFiles, Started, all_attempts, bury, discard
from mso.backplane.images import LocalImages
from mso.backplane.processes import Exits, raise_open_files_limit, reap, signal_group
from mso.backplane.shim import BusyError, Phase, abandon, clear, conclude, inspect, start
from mso.backplane.state_directory import own, pauses
from mso.disk import try_to_write
from mso.model import NO_EXIT_CODE, Attempt, End, Failed, Model, Reason, RunKey
from mso.recollection import UnreadableModelError

log = structlog.get_logger()

_PASSING = frozenset(
    {
        errno.EAGAIN,
        errno.EDQUOT,
        errno.EMFILE,
        errno.EINTR,
        errno.ENFILE,
        errno.ENOENT,  # the directory of the simulation went, as its last run was removed
        errno.ENOMEM,
        errno.ENOSPC,
        errno.ETXTBSY,
    }
)
"""Troubles of starting a process that may pass."""

_STARTING_SECONDS = 5.0
"""How long a shim may take from its lock to its first word."""
_KILL_SECONDS = 5.0
"""How long the kernel may take to end what got SIGKILL."""
_HEALTH_SECONDS = 4.0


@dataclass(slots=True, eq=False)
class _Entry:
    """An attempt as this process knows it."""

    attempt: Attempt
    files: AttemptFiles
    shim: int | None = None
    """The pid of the shim while its end will be reported."""
    end: End | None = None
    over: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def settled(self) -> bool:
        """Whether a listing has nothing to find out."""
        return self.end is not None or self.shim is not None


@dataclass(frozen=True, slots=True)
class _Found:
    """What a listing sees of an attempt that was not settled before."""

    attempt: Attempt
    files: AttemptFiles
    standing: End | Started | Phase


class LocalBackplane:
    """Runs models as processes of this machine. Everything it knows is under `state_dir`/local.

    `resync_seconds` is the time between listings, `terminate_grace_seconds` that between SIGTERM and SIGKILL, and
    `deploy_seconds` how long a start is tried while the machine lacks memory, descriptors or room on its disk.
    """

    capabilities = Capabilities(command=False, resources=False, secrets=False)

    def __init__(
        self,
        state_dir: Path,
        images: LocalImages,
        *,
        resync_seconds: float = 30.0,
        terminate_grace_seconds: float = 10.0,
        deploy_seconds: float = 30.0,
    ) -> None:
        self._root = state_dir.absolute() / "local"
        self._images = images
        self._resync_seconds = resync_seconds
        self._grace_seconds = terminate_grace_seconds
        self._deploy_seconds = deploy_seconds
        self._entries: dict[Path, _Entry] = {}
        self._news: asyncio.Queue[Observation | BaseException] = asyncio.Queue()
        self._chores: set[asyncio.Task[None]] = set()
        self._unreadable: set[Path] = set()
        self._listed_at: float | None = None
        self._trouble: tuple[str, ...] = ()

    async def __aenter__(self) -> Self:
        """Raises BackplaneError if another MSO works in this directory, or nobody can."""
        try:
            self._owner = await asyncio.to_thread(own, self._root)
        except OSError as error:
            raise BackplaneError(f"cannot work in {self._root}: {error}") from error
        await asyncio.to_thread(bury, self._root)
        raise_open_files_limit()
        self._exits = Exits()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._exits.close()
        for chore in self._chores:
            chore.cancel()
        await asyncio.gather(*self._chores, return_exceptions=True)
        os.close(self._owner)

    async def deploy(self, model: Model) -> None:
        """Start the model's current attempt; see Backplane.deploy."""
        files = AttemptFiles.of(self._root, model.current)
        if files.path not in self._entries:
            await self._start(model, files)

    async def watch(self) -> AsyncIterator[Observation | Listed]:
        """Everything, then what ends, then everything again; see Backplane.watch."""
        while True:
            began = time.monotonic()
            try:
                observations = await self._list()
                self._trouble = ()
            except OSError as error:
                log.warning("local.listing_failed", error=str(error))
                self._trouble = (f"cannot list local processes: {error}",)
                await asyncio.sleep(min(1.0, self._resync_seconds))
                continue
            for observation in observations:
                yield observation
            yield Listed(began, frozenset(observation.attempt for observation in observations))
            until = asyncio.get_running_loop().time() + self._resync_seconds
            while True:
                try:
                    async with asyncio.timeout_at(until):
                        news = await self._news.get()
                except TimeoutError:
                    break
                if isinstance(news, BaseException):
                    raise news
                yield news

    async def tail(self, attempt: Attempt, lines: int) -> tuple[str, ...]:
        try:
            return await asyncio.to_thread(AttemptFiles.of(self._root, attempt).tail, lines)
        except OSError as error:
            raise BackplaneError(f"no log of {attempt}: {error}") from error

    async def warnings(self, attempt: Attempt) -> tuple[str, ...]:
        """None: whatever is wrong with a process is in its log or in its end."""
        return ()

    async def remove(self, attempt: Attempt) -> None:
        """The process ends; its log stays until the run is removed."""
        await self._stop(AttemptFiles.of(self._root, attempt))

    async def stop_run(self, run: RunKey) -> None:
        try:
            attempts = await asyncio.to_thread(RunFiles.of(self._root, run).attempts)
        except OSError as error:
            raise BackplaneError(f"cannot list the models of {run}: {error}") from error
        outcomes = await asyncio.gather(*(self._stop(files) for files in attempts), return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome

    async def remove_run(self, run: RunKey) -> None:
        await self.stop_run(run)
        try:
            await asyncio.to_thread(discard, self._root, RunFiles.of(self._root, run).path)
        except OSError as error:
            raise BackplaneError(f"cannot delete the files of {run}: {error}") from error
        for path in [path for path, entry in self._entries.items() if entry.attempt.key.run_key == run]:
            del self._entries[path]

    async def mark(self, run: RunKey, mark: Mark) -> None:
        try:
            await asyncio.to_thread(RunFiles.of(self._root, run).mark, mark)
        except OSError as error:
            raise BackplaneError(f"cannot mark {run} as {mark}: {error}") from error

    async def health(self) -> tuple[str, ...]:
        complaints = [*self._trouble]
        try:
            async with asyncio.timeout(_HEALTH_SECONDS):
                await asyncio.to_thread(try_to_write, self._root)
        except OSError as error:  # TimeoutError is one
            complaints.append(f"cannot write to {self._root}: {str(error) or 'no answer'}")
        if self._listed_at is not None and (age := time.monotonic() - self._listed_at) > 2 * self._resync_seconds + 10:
            complaints.append(f"the last listing of local processes is {age:.0f} s old")
        return tuple(complaints)

    async def _start(self, model: Model, files: AttemptFiles) -> None:
        """Raises DeployError, and leaves nothing of the attempt then."""
        launch = self._images.launch(model.spec)
        patience = pauses(self._deploy_seconds)
        while True:
            try:
                shim = await asyncio.to_thread(start, files, model, launch)
            except (OSError, BusyError) as error:
                passing = isinstance(error, BusyError) or error.errno in _PASSING
                pause = next(patience, None) if passing else None
                if pause is None:
                    await asyncio.to_thread(abandon, self._root, files)
                    raise DeployError(Reason.DEPLOY_FAILED, f"cannot start {launch.command[0]}: {error}") from error
                await asyncio.sleep(pause)
            else:
                if shim is not None:
                    self._follow(self._entry(model.current, files), shim)
                return

    def _entry(self, attempt: Attempt, files: AttemptFiles) -> _Entry:
        return self._entries.setdefault(files.path, _Entry(attempt, files))

    def _follow(self, entry: _Entry, shim: int) -> None:
        """Hear of the end of a shim, at once if it is over."""
        if entry.settled:
            return
        try:
            self._exits.follow(shim, lambda: self._on_exit(entry, shim))
            entry.shim = shim
        except ProcessLookupError:
            self._on_exit(entry, shim)
        except OSError as error:
            # The listings find out, only later.
            log.warning("local.unfollowed", attempt=str(entry.attempt), pid=shim, error=str(error))

    def _on_exit(self, entry: _Entry, shim: int) -> None:
        entry.shim = None
        status = reap(shim)
        try:
            end = entry.files.end()
        except OSError:
            end = None
        if end:
            self._settle(entry, end)
        else:
            self._chore(self._find_out(entry, status))

    async def _find_out(self, entry: _Entry, status: int | None) -> None:
        try:
            self._settle(entry, await asyncio.to_thread(conclude, entry.files, status))
        except OSError as error:
            # The listings try again.
            log.warning("local.end_unread", attempt=str(entry.attempt), error=str(error))

    def _settle(self, entry: _Entry, end: End) -> None:
        if entry.end is None:
            entry.end, entry.shim = end, None
            entry.over.set()
            self._news.put_nowait(self._observe(entry))

    def _observe(self, entry: _Entry) -> Observation:
        return Observation(entry.attempt, entry.end, entry.files.recall)

    async def _list(self) -> list[Observation]:
        known = dict(self._entries)
        settled = {path for path, entry in known.items() if entry.settled}
        present, found = await asyncio.to_thread(self._look, settled)
        for one in found:
            await self._take_in(one)
        for path, entry in known.items():
            if path not in present and entry.end is not None:
                self._entries.pop(path, None)
        self._listed_at = time.monotonic()
        return [self._observe(entry) for entry in self._entries.values()]

    def _look(self, settled: set[Path]) -> tuple[set[Path], list[_Found]]:
        """Read the directories, in a thread: all of them, and of those that are not settled, how they stand."""
        present, found = set(), []
        for files in all_attempts(self._root):
            present.add(files.path)
            if files.path not in settled and (one := self._find(files)):
                found.append(one)
        return present, found

    def _find(self, files: AttemptFiles) -> _Found | None:
        try:
            attempt = files.model().current
            return _Found(attempt, files, inspect(files))
        except FileNotFoundError:  # not yet prepared, or just removed
            return None
        except (OSError, UnreadableModelError) as error:
            if files.path not in self._unreadable:
                self._unreadable.add(files.path)
                log.warning("local.unreadable", path=str(files.path), error=str(error))
            return None

    async def _take_in(self, found: _Found) -> None:
        match found.standing:
            case Phase.PREPARED:
                # With nothing listed yet nobody here has deployed it: an earlier process was killed before it could.
                if self._listed_at is None:
                    self._entry(found.attempt, found.files)
                    self._chore(self._start_late(found))
            case Phase.STARTING:
                self._entry(found.attempt, found.files)
                self._chore(self._await_beginning(found.files))
            case Started(pid=pid):
                self._follow(self._entry(found.attempt, found.files), pid)
                await asyncio.sleep(0)  # a thousand of them must not hold up the loop
            case end:
                self._settle(self._entry(found.attempt, found.files), end)

    async def _start_late(self, found: _Found) -> None:
        try:
            await self._start(found.files.model(), found.files)
        except DeployError as error:
            await asyncio.to_thread(abandon, self._root, found.files)
            self._settle(self._entry(found.attempt, found.files), Failed(NO_EXIT_CODE, error.reason, str(error)))

    async def _await_beginning(self, files: AttemptFiles) -> None:
        """Look again until a shim that holds its lock has said who it is, or is gone."""
        for pause in pauses(_STARTING_SECONDS):
            found = await asyncio.to_thread(self._find, files)
            if found is None:
                return
            if found.standing is not Phase.STARTING:
                await self._take_in(found)
                return
            await asyncio.sleep(pause)

    async def _stop(self, files: AttemptFiles) -> None:
        """When this returns nothing of the attempt's process group lives. Raises BackplaneError."""
        entry = self._entries.get(files.path)
        if entry is None or entry.end is None:
            try:
                # Before looking: a start that comes later sees it and does nothing, one that came before is seen.
                await asyncio.to_thread(files.stop)
            except FileNotFoundError:
                return
            except OSError as error:  # a full disk must keep nothing alive
                log.warning("local.stop_unrecorded", path=str(files.path), error=str(error))
            if entry is None or entry.shim is None:
                await self._await_beginning(files)
                entry = self._entries.get(files.path)
                if entry is None:
                    return
                if not entry.settled:
                    raise BackplaneError(f"{entry.attempt} runs, but its process cannot be followed")
            if not (
                await self._end_by(entry, signal.SIGTERM, self._grace_seconds)
                or await self._end_by(entry, signal.SIGKILL, _KILL_SECONDS)
            ):
                raise BackplaneError(f"{entry.attempt} survives SIGKILL")
        left: list[int] = []
        try:
            left = await asyncio.to_thread(clear, files)
            async with asyncio.timeout(_KILL_SECONDS):
                await asyncio.gather(*(self._gone(pid) for pid in left))
        except TimeoutError:
            raise BackplaneError(f"processes of {entry.attempt} survive SIGKILL: {left}") from None
        except OSError as error:
            raise BackplaneError(f"cannot see what is left of {entry.attempt}: {error}") from error

    async def _end_by(self, entry: _Entry, number: signal.Signals, seconds: float) -> bool:
        if entry.shim is not None:
            signal_group(entry.shim, number)
        try:
            async with asyncio.timeout(seconds):
                await entry.over.wait()
        except TimeoutError:
            return False
        return True

    async def _gone(self, pid: int) -> None:
        gone = asyncio.Event()
        try:
            self._exits.follow(pid, gone.set)
        except ProcessLookupError:
            return
        await gone.wait()

    def _chore(self, work: Coroutine[Any, Any, None]) -> None:
        """Run it beside everything else. What it raises is raised by the watch: it is a bug, and ends the process."""
        chore = asyncio.create_task(work)
        self._chores.add(chore)
        chore.add_done_callback(self._chore_done)

    def _chore_done(self, chore: asyncio.Task[None]) -> None:
        self._chores.discard(chore)
        if not chore.cancelled() and (error := chore.exception()):
            self._news.put_nowait(error)
