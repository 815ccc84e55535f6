"""The commands that build images and take them elsewhere, up to what only a cluster of kind or a registry can do."""

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

import mso
from tests.images.conftest import Images, build_environment
from tests.images.engine import BUILD_SECONDS, ROOT, docker, run

CLUSTERS = ("energy", "mso")


def stand_in(directory: Path, name: str, script: str) -> Path:
    """A program of this name that notes how it is called, and then does what the script says."""
    calls = directory / f"{name}.calls"
    program = directory / name
    program.write_text(f'#!/usr/bin/env bash\necho "$*" >>"{calls}"\n{script}\n')
    program.chmod(0o755)
    return calls


@pytest.fixture
def environment(tmp_path: Path, python_image: str) -> Mapping[str, str]:
    """In which programs of tmp_path come before those of this machine."""
    return {**build_environment(python_image), "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}


@pytest.fixture
def kind(tmp_path: Path) -> Path:
    lines = "\n".join(f"echo {cluster}" for cluster in CLUSTERS)
    return stand_in(tmp_path, "kind", f'[[ "$*" != "get clusters" ]] || {{ {lines}\n}}')


@pytest.mark.parametrize(("arguments", "cluster"), (((), "mso"), (("energy",), "energy")), ids=("usual", "named"))
def test_images_are_loaded_into_the_cluster(
    images: Images, environment: Mapping[str, str], kind: Path, arguments: tuple[str, ...], cluster: str
) -> None:
    """All that were built, by the names that the engine has them under."""
    command = ("ci/build_and_push_image_kind.sh", *arguments, *images.options)
    run(*command, environment=environment, seconds=BUILD_SECONDS)
    *_, load = kind.read_text().splitlines()
    begin = f"load docker-image --name {cluster} "
    assert load.startswith(begin)
    loaded = load.removeprefix(begin).split()
    assert {images.mso, images.fake_model, images.fake_simulator} < set(loaded)
    for image in loaded:
        docker("image", "inspect", image)


def test_a_cluster_that_is_not_there_is_told_before_anything_is_built(
    environment: Mapping[str, str], kind: Path
) -> None:
    """With those that are there, and how it is made."""
    done = run("ci/build_and_push_image_kind.sh", "enrgy", environment=environment, check=False)
    assert (done.returncode, kind.read_text()) == (1, "get clusters\n")
    assert "energy, mso" in done.stderr
    assert "kind create cluster --name enrgy" in done.stderr


def test_what_is_built_is_pushed(images: Images, environment: Mapping[str, str], tmp_path: Path) -> None:
    """Under the prefix, each of the names that are printed; everything but the push is done by the real Docker."""
    real = next(str(path) for path in map(Path, os.environ["PATH"].split(os.pathsep)) if (path / "docker").exists())
    calls = stand_in(tmp_path, "docker", f'[[ "$1" == push ]] || exec {real}/docker "$@"')
    command = ("ci/build_docker.sh", *images.options, "--push")
    names = run(*command, environment=environment, seconds=BUILD_SECONDS).stdout.split()
    assert {images.mso, images.fake_model, images.fake_simulator} < set(names)
    pushed = [call.removeprefix("push ") for call in calls.read_text().splitlines() if call.startswith("push ")]
    assert pushed == names


def test_the_version_is_the_tag_and_arguments_are_handed_on(environment: Mapping[str, str], tmp_path: Path) -> None:
    """Without a word they are tagged with the version of mso, and the fake model also as the scenarios ask for it."""
    calls = stand_in(tmp_path, "docker", "exit 0")
    command = ("ci/build_docker.sh", "--no-cache", "--build-arg", "SOURCE=here")
    printed = run(*command, environment=environment).stdout.split()
    version = mso.__version__
    assert printed == [
        *(f"mso:{version}", f"fake_model:{version}", "fake_model:0.0.1", f"fake_simulator:{version}"),
    ]
    builds = [call for call in calls.read_text().splitlines() if call.startswith("build ")]
    assert len(builds) == 3
    for build in builds:
        assert "--no-cache --build-arg SOURCE=here" in build
        assert f"--build-arg PYTHON_IMAGE={environment['PYTHON_IMAGE']}" in build


@pytest.mark.parametrize(
    ("arguments", "said"),
    (
        (("--push",), "--push wants --prefix"),
        (("--tag",), "--tag wants a value"),
    ),
)
def test_wrong_use_is_told(arguments: tuple[str, ...], said: str) -> None:
    """With exit status 2, before Docker is asked for anything."""
    done = run("ci/build_docker.sh", *arguments, environment={"PATH": "/usr/bin:/bin"}, check=False)
    assert (done.returncode, said in done.stderr) == (2, True)


def test_without_docker_it_says_what_is_missing() -> None:
    """Not with the words of a shell that finds no command."""
    nowhere = {"PATH": os.environ["PATH"], "DOCKER_HOST": f"unix://{ROOT}/no-such-socket"}
    done = run("ci/build_docker.sh", environment=nowhere, check=False)
    assert (done.returncode, "no Docker engine answers" in done.stderr) == (1, True)
