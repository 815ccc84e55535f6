"""An attempt on disk: where its files are, what each says, and how it ended. All of it blocks; nothing starts or kills.

    <root>/<simulation>/<run>/mark-<mark>
    <root>/<simulation>/<run>/<model>/<attempt>/
        model.json   the model to recall, and the boot it was prepared in (holds secrets: mode 0600 in 0700)
        lock         locked by the shim as long as it lives
        started      pid of the shim, boot id and start time, written before the command runs; by its mtime, when
        exit         the exit code, and `stopped` if it had been told to end; renamed into place; by its mtime, when
        stopped      MSO was told to end this attempt: from here on it is never started
        output.log   what the command wrote
        work/        where the command runs, unless its image says otherwise
    <root>/removed/  what is on its way out: first a rename, which is all or nothing, then the deletion

Names of directories follow from the ids alone. A file that exists is a fact that no later one takes back.
"""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

from mso import recollection
from mso.backplane import Mark, Recollection
from mso.backplane.codes import in_words
from mso.backplane.lines import TAIL_BYTES, last_lines
from mso.backplane.names import fingerprint, slug
from mso.model import Attempt, End, Failed, Model, Reason, RunKey, Succeeded

_SLUG_CHARACTERS = 32
_MARK_PREFIX = "mark-"


class Started(NamedTuple):
    """What the shim wrote of itself. Its pid is that of its process group."""

    pid: int
    boot: str
    began: str
    at: datetime


def directory_name(identifier: str) -> str:
    """A name that is legal and unique for any id, also where `A` and `a` are one file."""
    return "-".join(part for part in (slug(identifier, _SLUG_CHARACTERS), fingerprint(identifier)) if part)


@dataclass(frozen=True, slots=True)
class RunFiles:
    """The directory of one run."""

    path: Path

    @classmethod
    def of(cls, root: Path, run: RunKey) -> "RunFiles":
        return cls(root / directory_name(run.simulation) / str(run.run))

    def attempts(self) -> list["AttemptFiles"]:
        """Every attempt of the run. Raises OSError."""
        return [AttemptFiles(path) for model in _subdirectories(self.path) for path in _subdirectories(model)]

    def mark(self, mark: Mark) -> None:
        """Durable, also across a loss of power; nothing if there is no such run."""
        try:
            descriptor = os.open(self.path / f"{_MARK_PREFIX}{mark}", os.O_CREAT | os.O_WRONLY, 0o600)
        except FileNotFoundError:
            return
        _sync_and_close(descriptor)
        _sync_and_close(os.open(self.path, os.O_RDONLY))

    def marks(self) -> frozenset[Mark]:
        return frozenset(mark for mark in Mark if (self.path / f"{_MARK_PREFIX}{mark}").exists())


@dataclass(frozen=True, slots=True)
class AttemptFiles:
    """The directory of one attempt."""

    path: Path

    @classmethod
    def of(cls, root: Path, attempt: Attempt) -> "AttemptFiles":
        run = RunFiles.of(root, attempt.key.run_key)
        return cls(run.path / directory_name(attempt.key.model) / str(attempt.number))

    @property
    def run(self) -> RunFiles:
        return RunFiles(self.path.parent.parent)

    @property
    def log(self) -> Path:
        return self.path / "output.log"

    def prepare(self, model: Model, boot: str) -> bool:
        """Write down what is to run; False if that was done before this start of the machine, so it may have run."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        record = self.path / "model.json"
        if record.exists():
            return self.prepared_in() == boot
        scratch = self.path / "model.json.tmp"
        scratch.touch(mode=0o600)
        scratch.write_text(f"{boot}\n{recollection.encode(model)}\n")
        scratch.rename(record)
        return True

    def prepared_in(self) -> str:
        """The boot in which the attempt was prepared; empty if a loss of power damaged the file."""
        with (self.path / "model.json").open() as file:
            return file.readline().strip()

    def model(self) -> Model:
        """Raises FileNotFoundError, and UnreadableModelError."""
        return recollection.decode((self.path / "model.json").read_text().partition("\n")[2])

    def recall(self) -> Recollection:
        return Recollection(self.model(), self.run.marks())

    def open_lock(self) -> tuple[int, bool]:
        """A descriptor of the lock file for the caller to close, and whether it now holds the lock."""
        descriptor = os.open(self.path / "lock", os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return descriptor, False
        return descriptor, True

    def locked(self) -> bool:
        descriptor, mine = self.open_lock()
        os.close(descriptor)
        return not mine

    def decided(self) -> bool:
        """Whether it was started once, or is never to be."""
        return any((self.path / name).exists() for name in ("started", "exit", "stopped"))

    def started(self) -> Started | None:
        """None if it never began, or if nobody can say: the disk was full, or power was lost."""
        try:
            with (self.path / "started").open() as file:
                pid, boot, began = file.readline().strip().split(" ", 2)
                at = datetime.fromtimestamp(os.fstat(file.fileno()).st_mtime, UTC)
            return Started(int(pid), boot, began, at)
        except (FileNotFoundError, ValueError):
            return None

    def began(self) -> bool:
        return (self.path / "started").exists()

    def begin_in_vain(self) -> None:
        """Let nobody start it again: its shim ended without a word. A rename needs no space on a disk that is full."""
        with suppress(FileNotFoundError):  # somebody deletes it all
            (self.path / "lock").rename(self.path / "started")

    def stop(self) -> None:
        """Write down that it is to end."""
        (self.path / "stopped").touch(mode=0o600)

    def stopped(self) -> bool:
        return (self.path / "stopped").exists()

    def end(self) -> End | None:
        """How it ended, if its shim lived to tell; without a time if it had been told to end before."""
        try:
            with (self.path / "exit").open() as file:
                code, *stopped = file.read().split()
                at = datetime.fromtimestamp(os.fstat(file.fileno()).st_mtime, UTC)
            return end_of(int(code), self.started(), None if stopped else at)
        except (FileNotFoundError, ValueError):  # a loss of power can leave it empty
            return None

    def tail(self, lines: int) -> tuple[str, ...]:
        """The last lines of the log, from at most its last MiB. Raises OSError."""
        with self.log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - TAIL_BYTES))
            return last_lines(file.read(TAIL_BYTES), lines)


def end_of(code: int, started: Started | None, finished_at: datetime | None) -> End:
    """The end that an exit code of a shell stands for."""
    started_at = started.at if started else None
    if code == 0:
        return Succeeded(started_at, finished_at)
    return Failed(code, Reason.ERROR, in_words(code), started_at, finished_at)


def all_attempts(root: Path) -> Iterator[AttemptFiles]:
    """Every attempt there is, living or ended. Raises OSError."""
    for simulation in _subdirectories(root):
        if simulation != root / "removed":
            for run in _subdirectories(simulation):
                yield from RunFiles(run).attempts()


def discard(root: Path, path: Path) -> None:
    """Delete a directory, at one instant for whoever looks; absent is success."""
    grave = root / "removed" / uuid4().hex
    grave.parent.mkdir(mode=0o700, exist_ok=True)
    try:
        path.rename(grave)
    except FileNotFoundError:
        return
    shutil.rmtree(grave, ignore_errors=True)
    try:
        path.parent.rmdir()
    except OSError:
        pass  # it holds other runs, or other attempts


def bury(root: Path) -> None:
    """Finish the deletions that a kill interrupted."""
    shutil.rmtree(root / "removed", ignore_errors=True)


def _subdirectories(path: Path) -> list[Path]:
    try:
        with os.scandir(path) as entries:
            return [Path(entry) for entry in entries if entry.is_dir(follow_symlinks=False)]
    except FileNotFoundError:  # removed while we look
        return []


def _sync_and_close(descriptor: int) -> None:
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
