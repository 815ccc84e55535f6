"""Images, built once for all the tests here with the command that everybody builds them with."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.images.engine import BUILD_SECONDS, HINT, available, build_network, docker, new_name, run


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What is in this directory needs the engine."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.docker)
            item.add_marker(pytest.mark.timeout(BUILD_SECONDS))  # the first one of them builds
            if not available():
                item.add_marker(pytest.mark.skip(reason=HINT))


def build_environment(python_image: str) -> Mapping[str, str]:
    """In which ci/build_docker.sh builds here."""
    return {**os.environ, "PYTHON_IMAGE": python_image, "BUILD_NETWORK": build_network()}


@dataclass(frozen=True, slots=True)
class Images:
    """What `ci/build_docker.sh` printed, by what it is."""

    mso: str
    fake_model: str
    fake_simulator: str
    options: tuple[str, ...]
    """With which the same are built again."""


@pytest.fixture(scope="session")
def python_image() -> Iterator[str]:
    """The base image of what is built."""
    base = os.environ.get("MSO_TEST_DOCKER_PYTHON_IMAGE", "python:3.12-slim-bookworm")
    if not run("docker", "run", "--rm", "--user", "65532", base, "python3", "--version", check=False).returncode:
        yield base
        return
    # A stand-in for the official image, whose Python has its library in the home of root: nobody else could run it.
    opened = f"{new_name()}:base"
    run("docker", "build", "--tag", opened, "-", given=f"FROM {base}\nRUN chmod a+x /root\n")
    yield opened
    docker("rmi", opened)


@pytest.fixture(scope="session")
def images(python_image: str) -> Iterator[Images]:
    prefix = new_name()
    options = ("--prefix", prefix, "--tag", "try", "--label", f"mso-test={prefix}")
    names = run(
        "ci/build_docker.sh", *options, environment=build_environment(python_image), seconds=BUILD_SECONDS
    ).stdout.split()
    made = {name.partition("/")[2].partition(":")[0]: name for name in names if name.endswith(":try")}
    yield Images(**made, options=options)
    docker("rmi", *names)
    docker("image", "prune", "--force", "--filter", f"label=mso-test={prefix}")  # those that a later build replaced
