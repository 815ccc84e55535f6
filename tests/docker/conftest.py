"""A real `mso run`, a real Mosquitto, and a project of its own on the engine of this machine for each test."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests import mosquitto
from tests.docker_engine import clear, gateway, host, new_project
from tests.mosquitto import Mosquitto
from tests.peer import Peer
from tests.service import MsoProcess

StartMso = Callable[..., MsoProcess]


def pytest_itemcollected(item: pytest.Item) -> None:
    """Every test here needs an engine."""
    if item.path.is_relative_to(Path(__file__).parent):
        item.add_marker(pytest.mark.docker)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    """One that models in containers reach as well."""
    if not mosquitto.available():
        pytest.skip(mosquitto.INSTALL_HINT)
    with Mosquitto(tmp_path / "mosquitto", also_at=gateway()) as broker:
        yield broker


@pytest.fixture
def peer(broker: Mosquitto) -> Iterator[Peer]:
    """The simulation orchestrator `test-so`."""
    with Peer(broker) as peer:
        yield peer


@pytest.fixture
def project() -> Iterator[str]:
    name = new_project()
    yield name
    clear(name)


@pytest.fixture
def start_mso(broker: Mosquitto, project: str, tmp_path: Path) -> Iterator[StartMso]:
    """Starts `mso run` for the containers of the project, with the variables given."""
    with ExitStack() as running:
        number = iter(range(1000))

        def start(**variables: str) -> MsoProcess:
            usual = {
                "MSO_BACKPLANE": "docker",
                "DOCKER_HOST": host(),
                "MSO_DOCKER_PROJECT": project,
                "MSO_RESYNC_SECONDS": "2",
            }
            mso = MsoProcess(broker, tmp_path / f"mso-{next(number)}", **(usual | variables))
            running.callback(mso.__exit__)
            mso.start()
            return mso

        yield start


@pytest.fixture
def mso(start_mso: StartMso) -> MsoProcess:
    """A running `mso run` that serves `test-so`."""
    return start_mso()
