"""The stages of the contract suite: one for every backplane. A new backplane joins with one line in STAGES.

A stage owns a world that outlives the instances of its backplane, and plays the models in it: it makes them speak and
end, and counts what really runs.
"""

import asyncio
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import psutil

from mso.backplane import Backplane, DeployError
from mso.backplane.attempts import AttemptFiles, all_attempts
from mso.backplane.images import LocalImages
from mso.backplane.local import LocalBackplane
from mso.model import Attempt, Reason
from tests.fakes.backplane import FakeBackplane, World

PUPPET = "mso-test-puppet:1"
"""An image that every stage knows."""
UNKNOWN = "nobody/knows:it"
"""An image that no stage knows."""

RESYNC_SECONDS = 0.2

_ADDED = {"PATH", "LC_CTYPE", "__CF_USER_TEXT_ENCODING"}
"""What the local backplane promises, and what Python and macOS add when they start."""


class Stage(Protocol):
    """How the suite reaches behind a backplane."""

    @property
    def logs_whole_lines(self) -> bool:
        """Whether a log lacks its last line until that has ended, or the attempt has."""
        ...

    def open(self) -> Backplane:
        """A new instance over the same world, as a new process of MSO would make it. Enter it with `async with`."""
        ...

    async def say(self, attempt: Attempt, text: bytes) -> None:
        """The attempt writes these bytes. Returns when they are in its log, or as many of them as come there by now."""
        ...

    async def finish(self, attempt: Attempt, exit_code: int) -> None:
        """Tell the attempt to end with this exit code."""
        ...

    async def environment(self, attempt: Attempt) -> Mapping[str, str]:
        """What the attempt really sees, but for what every process of its machine has."""
        ...

    async def running(self, attempt: Attempt) -> int:
        """How many processes run for the attempt now."""
        ...

    async def started(self, attempt: Attempt) -> int:
        """How many were ever started for it. Waits for the first if one is on its way."""
        ...

    def plant_foreign(self) -> Callable[[], bool]:
        """Put something beside our models that is not ours; returns how to ask whether it is untouched."""
        ...

    async def close(self) -> None: ...


class FakeStage:
    logs_whole_lines = False

    def __init__(self, scratch: Path) -> None:
        self._world = World(refuse={UNKNOWN: DeployError(Reason.IMAGE_PULL_FAILED, f"no image {UNKNOWN}")})

    def open(self) -> FakeBackplane:
        return FakeBackplane(self._world, resync_seconds=RESYNC_SECONDS)

    async def say(self, attempt: Attempt, text: bytes) -> None:
        self._world.say(attempt, text)

    async def finish(self, attempt: Attempt, exit_code: int) -> None:
        self._world.finish(attempt, exit_code)

    async def environment(self, attempt: Attempt) -> Mapping[str, str]:
        return {one.name: one.value for one in self._world.attempts[attempt].model.spec.environment}

    async def running(self, attempt: Attempt) -> int:
        found = self._world.attempts.get(attempt)
        return int(found is not None and found.end is None)

    async def started(self, attempt: Attempt) -> int:
        return self._world.starts.count(attempt)

    def plant_foreign(self) -> Callable[[], bool]:
        return lambda: True  # nothing but models fits into its world

    async def close(self) -> None:
        return


class LocalStage:
    """Its puppet is puppet.py, a real process that is told over a FIFO in its working directory what to do."""

    logs_whole_lines = False

    def __init__(self, scratch: Path) -> None:
        self._state = scratch / "state"
        images = scratch / "images.yaml"
        images.write_text(f'"{PUPPET}": ["{sys.executable}", -I, -S, "{Path(__file__).with_name("puppet.py")}"]\n')
        self._images = LocalImages.load(images)

    def open(self) -> LocalBackplane:
        return LocalBackplane(self._state, self._images, resync_seconds=RESYNC_SECONDS, terminate_grace_seconds=5)

    async def say(self, attempt: Attempt, text: bytes) -> None:
        log = AttemptFiles.of(self._state / "local", attempt).log
        before = log.stat().st_size
        await self._command(attempt, f"say {text.hex()}")
        await until(lambda: log.stat().st_size == before + len(text))

    async def finish(self, attempt: Attempt, exit_code: int) -> None:
        await self._command(attempt, f"exit {exit_code}")

    async def environment(self, attempt: Attempt) -> Mapping[str, str]:
        await self._puppet(attempt)
        pairs = (self._work(attempt) / "environment").read_bytes().rstrip(b"\0").decode().split("\0")
        return {name: value for name, _, value in (pair.partition("=") for pair in pairs) if name not in _ADDED}

    async def running(self, attempt: Attempt) -> int:
        return sum(map(_is_alive, self._pids(attempt)))

    async def started(self, attempt: Attempt) -> int:
        await self._puppet(attempt)
        return len(self._pids(attempt))

    def plant_foreign(self) -> Callable[[], bool]:
        note = self._state / "local" / "notes" / "1" / "somebody" / "1" / "precious.txt"
        note.parent.mkdir(parents=True)
        note.write_text("mine")
        return lambda: note.read_text() == "mine" and [*note.parent.iterdir()] == [note]

    async def close(self) -> None:
        async with self.open() as backplane:
            for attempt in all_attempts(self._state / "local"):
                with suppress(FileNotFoundError):  # what is not ours, or went with its run
                    await backplane.remove_run(attempt.model().key.run_key)

    def _work(self, attempt: Attempt) -> Path:
        return AttemptFiles.of(self._state / "local", attempt).path / "work"

    def _pids(self, attempt: Attempt) -> list[int]:
        try:
            return [int(pid) for pid in (self._work(attempt) / "pids").read_text().split()]
        except FileNotFoundError:
            return []

    async def _puppet(self, attempt: Attempt) -> Path:
        """Its strings, once it is there."""
        strings = self._work(attempt) / "strings"
        await until(strings.exists)
        return strings

    async def _command(self, attempt: Attempt, command: str) -> None:
        with (await self._puppet(attempt)).open("w") as strings:
            strings.write(command + "\n")


def _is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    """Wait for what another process does."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


def _kubernetes_stage(scratch: Path) -> Stage:
    from tests.contract.kubernetes_stage import KubernetesStage  # it is built upon this module

    return KubernetesStage(scratch)


def _docker_stage(scratch: Path) -> Stage:
    from tests.contract.docker_stage import DockerStage  # it is built upon this module

    return DockerStage(scratch)


STAGES: Mapping[str, Callable[[Path], Stage]] = {
    "fake": FakeStage,
    "local": LocalStage,
    "kubernetes": _kubernetes_stage,
    "docker": _docker_stage,
}
