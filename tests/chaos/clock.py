"""A clock that goes wrong: `Clock.jump` turns the wall clock of the processes that were started with its environment.

A small library of our own is loaded into them: libfaketime 0.9.10 breaks every sleep on the monotonic clock (EINVAL,
measured), and the threads that sleep with it. Here only what asks for the time of day gets the wrong one; the monotonic
clock, sleeps and timeouts are left alone, as they are when somebody turns a real clock.
"""

import mmap
import shutil
import struct
import subprocess
import sys
from pathlib import Path
from typing import Self

_SOURCE = r"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile const long long *offset; /* nanoseconds */

__attribute__((constructor)) static void look(void) {
    const char *path = getenv("CHAOS_CLOCK");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) return;
    void *page = mmap(0, sizeof *offset, PROT_READ, MAP_SHARED, file, 0);
    close(file);
    if (page != MAP_FAILED) offset = page;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int failed = syscall(SYS_clock_gettime, clock, now);
    if (!failed && offset && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
        long long at = now->tv_sec * 1000000000LL + now->tv_nsec + *offset;
        now->tv_sec = at / 1000000000LL;
        now->tv_nsec = at % 1000000000LL;
    }
    return failed;
}

int gettimeofday(struct timeval *now, void *zone) {
    struct timespec at;
    (void)zone;
    if (clock_gettime(CLOCK_REALTIME, &at)) return -1;
    now->tv_sec = at.tv_sec;
    now->tv_usec = at.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *out) {
    struct timespec at;
    clock_gettime(CLOCK_REALTIME, &at);
    if (out) *out = at.tv_sec;
    return at.tv_sec;
}
"""


def trouble() -> str:
    """Why there can be no such clock here; empty if there can."""
    if sys.platform != "linux":
        return "the clock is turned on Linux only"
    return "" if shutil.which("cc") else "the clock is left alone: there is no C compiler (cc)"


class Clock:
    """What it is wrong by is in a file that the processes have mapped."""

    def __init__(self, directory: Path) -> None:
        source, library, self._file = directory / "clock.c", directory / "clock.so", directory / "clock"
        source.write_text(_SOURCE)
        command = ["cc", "-O1", "-shared", "-fPIC", "-o", str(library), str(source)]
        subprocess.run(command, check=True, capture_output=True)
        self._file.write_bytes(struct.pack("=q", 0))
        self.environment = {"LD_PRELOAD": str(library), "CHAOS_CLOCK": str(self._file)}

    def __enter__(self) -> Self:
        with self._file.open("r+b") as file:
            self._page = mmap.mmap(file.fileno(), 8)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._page.close()

    def jump(self, seconds: float) -> None:
        """From now on it is wrong by this."""
        self._page[:8] = struct.pack("=q", int(seconds * 1e9))
