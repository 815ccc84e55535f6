"""What can be seen of the local backplane without being its owner."""

import asyncio
import fcntl
import os
from pathlib import Path

from mso.backplane.images import ImagesError, LocalImages
from mso.checkup import Checks, Finding, ok, timed, wrong
from mso.wording import one_line

IMAGES = "file of images"
ACTIVE = "active MSO"


async def check(images: Path, lease: Path) -> Checks:
    """`lease` is the file that the active MSO has locked."""
    yield await timed(IMAGES, asyncio.to_thread(_images, images))
    yield await timed(ACTIVE, asyncio.to_thread(_active, lease))


def _images(path: Path) -> Finding:
    try:
        known = LocalImages.load(path)
    except ImagesError as error:
        return wrong(
            IMAGES, "; ".join(str(error).splitlines()), "mend the file: every image needs a program that is there"
        )
    return ok(IMAGES, f"{known.path}: the programs of all its images are there")


def _active(lease: Path) -> Finding:
    """For an instant we have a share of the lock, if nobody has all of it: an MSO that starts just now tries again."""
    try:
        descriptor = os.open(lease, os.O_RDONLY)
    except FileNotFoundError:
        return ok(ACTIVE, "none has ever been active here")
    except OSError as error:
        return wrong(ACTIVE, f"{lease} cannot be opened: {error.strerror}", "run this as the user that MSO runs as")
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        said = os.pread(descriptor, 1000, 0).decode(errors="replace").split()
        return ok(ACTIVE, f"{one_line(said[1]) if len(said) > 1 else 'one'} is active")
    finally:
        os.close(descriptor)
    return ok(ACTIVE, "none is active")
