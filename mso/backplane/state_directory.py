"""The directory that the local backplane lives in: who may work there."""

import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from mso import patience
from mso.backplane import BackplaneError

_OWN_SECONDS = 2.0
"""How long a predecessor may take to be gone."""


def own(root: Path) -> int:
    """Be the only MSO in this directory as long as the descriptor is open; blocks for a moment if there is another.

    Raises BackplaneError if it stays, and OSError.
    """
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(root / "owner.lock", os.O_CREAT | os.O_RDWR, 0o600)
    # More than once: a child that an MSO was forking when it was killed has a copy of its lock until it is a shim.
    for pause in pauses(_OWN_SECONDS):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(pause)
        else:
            os.truncate(descriptor, 0)
            os.write(descriptor, f"{os.getpid()}\n".encode())
            return descriptor
    owner = os.read(descriptor, 32).decode().strip() or "unknown"
    os.close(descriptor)
    raise BackplaneError(
        f"another MSO (process {owner}) works in {root}: stop it, or set MSO_STATE_DIR to another directory"
    )


def pauses(seconds: float) -> Iterator[float]:
    """For what passes quickly: from 10 ms to 1 s, until that much time is over."""
    return patience.pauses(first=0.01, cap=1.0, within=seconds)
