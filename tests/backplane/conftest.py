"""A local backplane with images of a few words, and the models to run on it; a server that plays the Kubernetes API."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from mso.backplane.attempts import AttemptFiles, all_attempts
from mso.backplane.images import LocalImages
from mso.backplane.local import LocalBackplane
from mso.model import (
    Attempt,
    EnvironmentVariable,
    Model,
    ModelId,
    ModelKey,
    ModelSpec,
    Request,
    SimulationId,
    SimulatorName,
)
from tests.backplane.api_server import ApiServer, api_server
from tests.mosquitto import Certificate, make_certificate

Variables = Mapping[str, str] | Sequence[tuple[str, str]]


def a_model(name: str = "model", image: str = "image", environment: Variables = ()) -> Model:
    key = ModelKey(SimulationId("sim"), 1, ModelId(name))
    now = datetime.now(UTC)
    pairs = environment.items() if isinstance(environment, Mapping) else environment
    variables = tuple(EnvironmentVariable(*pair) for pair in pairs)
    return Model(
        key,
        ModelSpec(key.model, image, variables),
        Request(SimulatorName("so"), key.simulation),
        created_at=now,
        since=now,
    )


@dataclass(frozen=True)
class Machine:
    """One state directory and one file of images; MSO comes and goes."""

    scratch: Path

    @property
    def root(self) -> Path:
        return self.scratch / "state" / "local"

    def open(self, command: Sequence[str], entry: Mapping[str, Any] | None = None, **options: float) -> LocalBackplane:
        """An MSO for which `image` means this command."""
        path = self.scratch / "images.yaml"
        path.write_text(yaml.safe_dump({"image": {"command": [*command], **(entry or {})}}))
        return LocalBackplane(self.scratch / "state", LocalImages.load(path), **{"resync_seconds": 0.2, **options})

    def files(self, attempt: Attempt) -> AttemptFiles:
        return AttemptFiles.of(self.root, attempt)


@pytest.fixture
async def machine(tmp_path: Path) -> AsyncIterator[Machine]:
    machine = Machine(tmp_path)
    yield machine
    async with machine.open(["true"], terminate_grace_seconds=0.1) as backplane:
        for attempt in all_attempts(machine.root):
            await backplane.remove(attempt.model().current)


@pytest.fixture(scope="session")
def api_certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("api"), "api")


@pytest.fixture
async def server(api_certificate: Certificate, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ApiServer]:
    for name in ("NO_PROXY", "no_proxy"):  # the way to it is short, whatever this machine is set to
        monkeypatch.setenv(name, "127.0.0.1")
    async with api_server(api_certificate) as server:
        yield server
