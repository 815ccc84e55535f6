"""A disk that gets full: a small file system in memory, which a file of ours fills to the last byte for a while."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Self

SIZE = 192 << 20
_CHUNK = b"\0" * (1 << 16)


def trouble() -> str:
    """Why there can be no such disk here; empty if there can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "no disk is filled: only root can mount one of its own (tmpfs)"
    return ""


class SmallDisk:
    """Mounted at a directory while `with` lasts."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._ballast = path / "ballast"

    def __enter__(self) -> Self:
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        options = f"size={SIZE},mode=700"
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(self.path)], check=True, capture_output=True
        )
        return self

    def __exit__(self, *exc_info: object) -> None:
        subprocess.run(["umount", "--lazy", str(self.path)], check=False, capture_output=True)

    def fill(self) -> None:
        """Nothing more can be written, until `free`."""
        with self._ballast.open("wb", buffering=0) as file:
            for size in (1 << 16, 1 << 12, 1):
                try:
                    while True:
                        file.write(_CHUNK[:size])
                except OSError:
                    continue  # full, but for less than this

    def free(self) -> None:
        self._ballast.unlink(missing_ok=True)
