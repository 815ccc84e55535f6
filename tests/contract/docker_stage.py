"""The Docker stage: a project of its own on the engine of this machine, and puppets in containers.

The strings of a puppet are in its container. They are pulled, and its files read, with the command line: nothing goes
by way of the backplane that is under test.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from mso.backplane.containers import ContainerSettings, container_name
from mso.backplane.docker import DockerBackplane, DockerSettings
from mso.backplane.docker_engine import Address
from mso.model import Attempt
from tests.contract.stages import PUPPET
from tests.docker_engine import clear, containers, docker, host, inspect, logs, new_project, puppet_image, read_file

RESYNC_SECONDS = 0.5
IMAGE_PULL_SECONDS = 0.0
PATIENCE_SECONDS = 60.0

_ADDED = {
    *("HOSTNAME", "HOME", "PATH"),  # the engine
    "LC_CTYPE",  # Python, as it starts
    *("LANG", "GPG_KEY", "PYTHON_VERSION", "PYTHON_SHA256"),  # the image of Python
}


class DockerStage:
    """Its puppet is puppet.py in a container."""

    logs_whole_lines = True

    def __init__(self, scratch: Path) -> None:
        puppet_image(PUPPET)
        self._project = new_project()
        self._foreign: list[str] = []
        self._said: dict[Attempt, bytes] = {}

    def open(self) -> DockerBackplane:
        settings = DockerSettings(
            containers=ContainerSettings(project=self._project),
            image_pull_grace=IMAGE_PULL_SECONDS,
            resync_seconds=RESYNC_SECONDS,
        )
        return DockerBackplane(Address(host=host()), settings)

    async def say(self, attempt: Attempt, text: bytes) -> None:
        await self._command(attempt, f"say {text.hex()}")
        said = self._said[attempt] = self._said.get(attempt, b"") + text
        whole_lines = said[: said.rfind(b"\n") + 1].decode(errors="replace")
        await self._until(lambda: logs(self._name(attempt)) == whole_lines, f"{attempt} has not said all of it")

    async def finish(self, attempt: Attempt, exit_code: int) -> None:
        # Whoever brings the word may end with the container, before it can say that it has brought it.
        await self._command(attempt, f"exit {exit_code}", check=False)
        name = self._name(attempt)
        await self._until(lambda: not inspect(name)["State"]["Running"], f"{attempt} does not end")

    async def environment(self, attempt: Attempt) -> Mapping[str, str]:
        pairs = (await self._read(attempt, "environment")).rstrip("\0").split("\0")
        return {name: value for name, _, value in (pair.partition("=") for pair in pairs) if name not in _ADDED}

    async def running(self, attempt: Attempt) -> int:
        mine = await asyncio.to_thread(containers, f"mso/project={self._project}")
        named = [one for one in mine if one["Name"] == f"/{self._name(attempt)}"]
        return sum(one["State"]["Running"] for one in named)

    async def started(self, attempt: Attempt) -> int:
        return len((await self._read(attempt, "pids")).split())

    def plant_foreign(self) -> Callable[[], bool]:
        """A container without labels, and one with labels that look like ours; and a volume. Nobody touches them."""
        lookalike = ["simulator_id=DOTS-so", "simulation_id=sim02-abc", "model_id=heat-pump", "run=1"]
        managed = ["app.kubernetes.io/managed-by=mso", f"mso/project={self._project}"]
        for labels in ([], lookalike, [*lookalike, *managed]):
            options = [part for label in labels for part in ("--label", label)]
            self._foreign.append(docker("create", *options, PUPPET))
        planted = [inspect(container) for container in self._foreign]
        return lambda: [inspect(container) for container in self._foreign] == planted

    async def close(self) -> None:
        if self._foreign:
            docker("container", "rm", "--force", *self._foreign)
        clear(self._project)

    def _name(self, attempt: Attempt) -> str:
        return container_name(self._project, attempt)

    async def _read(self, attempt: Attempt, file: str) -> str:
        """A file of the puppet, once its strings are there; also after its end."""
        await self._begun(attempt)
        found = await asyncio.to_thread(read_file, self._name(attempt), f"/strings/{file}")
        assert found is not None
        return found.decode()

    async def _begun(self, attempt: Attempt) -> None:
        strings = f"{self._name(attempt)}", "/strings/strings"
        await self._until(lambda: read_file(*strings) is not None, f"{attempt} does not begin")

    async def _command(self, attempt: Attempt, command: str, *, check: bool = True) -> None:
        await self._begun(attempt)
        # By its standard input: it is longer than a command may be.
        write = "exec", "--interactive", self._name(attempt), "sh", "-c", "cat >strings"
        await asyncio.to_thread(docker, *write, input=f"{command}\n", check=check)

    async def _until(self, condition: Callable[[], bool], otherwise: str) -> None:
        until = time.monotonic() + PATIENCE_SECONDS
        while not await asyncio.to_thread(condition):
            assert time.monotonic() < until, otherwise
            await asyncio.sleep(0.02)
