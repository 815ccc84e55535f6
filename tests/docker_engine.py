"""A real Docker engine, to be used and abused: that of this machine, where MSO_TEST_DOCKER says that it may be.

Tests reach it with the command line, behind the back of the backplane. What they make has names and projects of its own
and goes with them.
"""

import asyncio
import atexit
import hashlib
import io
import json
import os
import subprocess
import tarfile
import uuid
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

HINT = "no Docker engine for tests: MSO_TEST_DOCKER=yes says that the one of this machine may be used"
PATIENCE_SECONDS = 120.0

_REPOSITORY = Path(__file__).parents[1]


def available() -> bool:
    """Whether it may be used. One that then does not answer is a failure, not a reason to skip."""
    return os.environ.get("MSO_TEST_DOCKER") == "yes"


def docker(*arguments: str, input: str | None = None, check: bool = True) -> str:  # noqa: A002 - as subprocess calls it
    """What the command line answers. That it fails is an AssertionError with its own words."""
    done = subprocess.run(
        ["docker", *arguments], input=input, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False
    )
    assert not check or done.returncode == 0, f"docker {' '.join(arguments)}: {done.stderr}"
    return done.stdout.strip()


def new_project() -> str:
    """A name that no other test has."""
    return f"mso-test-{uuid.uuid4().hex[:10]}"


def containers(*labels: str) -> list[dict[str, Any]]:
    """All that carry these labels, living or ended, as `inspect` shows them."""
    filters = [part for label in labels for part in ("--filter", f"label={label}")]
    ids = docker("container", "ls", "--all", "--quiet", "--no-trunc", *filters).split()
    # One that goes meanwhile is not shown, and said to be missing.
    found: list[dict[str, Any]] = json.loads(docker("container", "inspect", *ids, check=False)) if ids else []
    return found


def volumes(*labels: str) -> list[str]:
    filters = [part for label in labels for part in ("--filter", f"label={label}")]
    return docker("volume", "ls", "--quiet", *filters).split()


def logs(container: str) -> str:
    """All that it wrote."""
    command = ["docker", "logs", container]
    return subprocess.run(command, capture_output=True, timeout=PATIENCE_SECONDS, check=True).stdout.decode(
        errors="replace"
    )


def read_file(container: str, path: str) -> bytes | None:
    """A file in a container, living or ended; None if there is none."""
    done = subprocess.run(
        ["docker", "cp", f"{container}:{path}", "-"], capture_output=True, timeout=PATIENCE_SECONDS, check=False
    )
    if done.returncode:
        return None
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        file = archive.extractfile(archive.getmembers()[0])
        return file.read() if file else b""


def inspect(container: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(docker("container", "inspect", container))[0]
    return found


def clear(project: str) -> None:
    """Nothing of a project is left."""
    if ids := [one["Id"] for one in containers(f"mso/project={project}")]:
        docker("container", "rm", "--force", "--volumes", *ids, check=False)
    if names := volumes(f"mso/project={project}"):
        docker("volume", "rm", *names, check=False)
    docker("volume", "rm", f"{project}-claim", check=False)


def gateway() -> str:
    """The address of this machine at which containers on the usual bridge reach it."""
    return docker("network", "inspect", "bridge", "--format", "{{(index .IPAM.Config 0).Gateway}}")


def python_image() -> str:
    """One that has a python3, and is there or can be pulled."""
    return os.environ.get("MSO_TEST_DOCKER_PYTHON_IMAGE", "python:3.12-slim-bookworm")


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what a container does; it can only be looked at again."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not await asyncio.to_thread(condition):
            await asyncio.sleep(0.02)


@cache
def host() -> str:
    """Where the command line finds the engine, as DOCKER_HOST has it."""
    return docker("context", "inspect", "--format", "{{.Endpoints.docker.Host}}")


def socket_path() -> str:
    """Of the engine."""
    assert host().startswith("unix://"), f"these tests go by the socket of the engine, and it is at {host()}"
    return host().removeprefix("unix://")


@cache
def puppet_image(name: str) -> str:
    """The puppet of the contract suite as an image of this name. It goes when the tests have ended."""
    source = (_REPOSITORY / "tests" / "contract" / "puppet.py").read_text()
    command = json.dumps(["python3", "-I", "-S", "-c", source])
    return _built(name, f"FROM {python_image()}\nWORKDIR /strings\nCMD {command}\n")


@cache
def script_image(source: str, user: str = "", name: str = "", more: str = "") -> str:
    """An image that runs this Python program, with these further lines of its Dockerfile. It goes with the tests."""
    command = json.dumps(["python3", "-I", "-S", "-c", source])
    dockerfile = f"FROM {python_image()}\nCMD {command}\n" + (f"USER {user}\n" if user else "") + more
    return _built(name or f"mso-test-script:{hashlib.sha256(dockerfile.encode()).hexdigest()[:12]}", dockerfile)


@cache
def fake_model_image() -> str:
    """The fake model, built of its Dockerfile. It goes when the tests have ended; the engine remembers its layers."""
    name = "mso-test-fake-model:1"
    docker(
        *("build", "--quiet", "--tag", name, "--build-arg", f"PYTHON_IMAGE={python_image()}"),
        *("--network", os.environ.get("MSO_TEST_DOCKER_BUILD_NETWORK", "default")),
        *("--file", str(_REPOSITORY / "simulation_components" / "fake_model" / "Dockerfile"), str(_REPOSITORY)),
    )
    _forget_at_exit(name)
    # A base image whose Python only root can read is no reason to test less.
    if not docker("run", "--rm", "--entrypoint", "python3", name, "-V", check=False):
        return _built(f"{name}-as-root", f"FROM {name}\nUSER 0\n")
    return name


def _built(name: str, dockerfile: str) -> str:
    docker("build", "--quiet", "--tag", name, "-", input=dockerfile)
    _forget_at_exit(name)
    return name


def _forget_at_exit(name: str) -> None:
    atexit.register(docker, "image", "rm", "--force", name, check=False)
