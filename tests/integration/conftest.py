"""Real brokers for the tests. Every one of them is gone when its test is over."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.mosquitto import INSTALL_HINT, Certificate, Mosquitto, available, make_certificate
from tests.mqtt import Reachable
from tests.peer import Peer
from tests.service import MsoProcess

StartMosquitto = Callable[..., Mosquitto]


@pytest.fixture
def start_mosquitto(tmp_path: Path) -> Iterator[StartMosquitto]:
    """Starts a Mosquitto with the options given; for tests that need a particular one."""
    if not available():
        if os.environ.get("CI") == "true":
            pytest.fail(INSTALL_HINT)
        pytest.skip(INSTALL_HINT)
    with ExitStack() as running:
        number = iter(range(1000))

        def start(**options: object) -> Mosquitto:
            broker = Mosquitto(tmp_path / f"mosquitto-{next(number)}", **options)  # type: ignore[arg-type]
            return running.enter_context(broker)

        yield start


@pytest.fixture
def mosquitto(start_mosquitto: StartMosquitto) -> Mosquitto:
    """A running Mosquitto that keeps what it must over a kill -9."""
    return start_mosquitto()


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("tls"), "broker")


@pytest.fixture(scope="session")
def impostor(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """Made for the same names, by somebody else."""
    return make_certificate(tmp_path_factory.mktemp("impostor"), "impostor")


StartMso = Callable[..., MsoProcess]


@pytest.fixture
def start_mso(tmp_path: Path) -> Iterator[StartMso]:
    """Starts `mso run` against a broker, with the variables given; gone with its models when the test is over."""
    with ExitStack() as running:
        number = iter(range(1000))

        def start(broker: Reachable, simulators: str = "test-so", **variables: str) -> MsoProcess:
            return running.enter_context(MsoProcess(broker, tmp_path / f"mso-{next(number)}", simulators, **variables))

        yield start


@pytest.fixture
def mso(mosquitto: Mosquitto, start_mso: StartMso) -> MsoProcess:
    """A running `mso run` that serves `test-so`."""
    return start_mso(mosquitto)


@pytest.fixture
def peer(mosquitto: Mosquitto) -> Iterator[Peer]:
    """The simulation orchestrator `test-so`."""
    with Peer(mosquitto) as peer:
        yield peer
