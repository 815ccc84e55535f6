"""A disk: whether it takes what is written to it, and how much room is left. It blocks."""

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Room:
    """What is left for us, who may not be root."""

    free: int
    """In bytes."""
    files: int | None
    """How many more there may be; None where the file system has no such limit."""


def try_to_write(directory: Path) -> None:
    """Raises OSError if the directory takes no file, or the file no byte."""
    with tempfile.TemporaryFile(dir=directory) as file:
        file.write(b"room?")


def room(directory: Path) -> Room:
    """Raises OSError."""
    found = os.statvfs(directory)
    return Room(found.f_bavail * found.f_frsize, found.f_favail if found.f_files else None)


def nearest(path: Path) -> Path:
    """The path, or what is there of the way to it."""
    while not path.exists():
        path = path.parent
    return path
