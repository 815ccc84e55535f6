"""A project of its own on the engine of this machine, and the backplanes and models that are tried on it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from mso.backplane.containers import ContainerSettings, container_name
from mso.backplane.docker import DockerBackplane, DockerSettings
from mso.backplane.docker_engine import Address
from mso.model import Attempt, Model
from tests import docker_engine
from tests.builders import model, request, spec

WAITS = 'print("here", flush=True); import time; time.sleep(600)'
ENDS_WELL_ON_TERM = """\
import os, signal, time
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
print("here", flush=True)
time.sleep(600)
"""
DEAF = """\
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("here", flush=True)
time.sleep(600)
"""


@dataclass(frozen=True, slots=True)
class Desk:
    project: str

    def open(self, address: Address | None = None, **settings: Any) -> DockerBackplane:
        """A backplane over this project, as a new process of MSO would make it; on the engine of these tests."""
        containers = ContainerSettings(
            project=self.project,
            network=settings.pop("network", ""),
            restricted=settings.pop("restricted", False),
        )
        usual: dict[str, Any] = {"resync_seconds": 0.5, "image_pull_grace": 0.0, "terminate_grace_seconds": 5.0}
        address = address or Address(host=docker_engine.host())
        return DockerBackplane(address, DockerSettings(containers=containers, **(usual | settings)))

    def name(self, attempt: Attempt) -> str:
        return container_name(self.project, attempt)

    def seen(self, attempt: Attempt) -> dict[str, Any]:
        """As the engine has it."""
        return docker_engine.inspect(self.name(attempt))

    def all(self) -> list[dict[str, Any]]:
        return docker_engine.containers(f"mso/project={self.project}")

    def volumes(self) -> list[str]:
        return docker_engine.volumes(f"mso/project={self.project}")


@contextmanager
def desk() -> Iterator[Desk]:
    made = Desk(docker_engine.new_project())
    try:
        yield made
    finally:
        docker_engine.clear(made.project)


def a_model(source: str = "", name: str = "m-0", image: str = "", **wishes: Any) -> Model:
    """One whose image runs this Python program, or is the one that is named; asked for just now."""
    image = image or docker_engine.script_image(source or WAITS)
    now = datetime.now(UTC)
    made = model(name, spec=spec(name, image, **wishes), request=request(simulator_id="DOTS-so"))
    return replace(made, created_at=now, since=now)


async def has_begun(of: Desk, attempt: Attempt) -> None:
    """Its program has said that it is here: from then on it does about signals what it does."""
    await docker_engine.until(lambda: "here" in docker_engine.logs(of.name(attempt)))
