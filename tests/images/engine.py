"""What tests of images and of compose share: the command line of Docker, and containers that can be asked."""

import json
import os
import subprocess
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).parents[2]
HINT = "no Docker engine for tests: MSO_TEST_DOCKER=yes says that the one of this machine may be used"
PATIENCE_SECONDS = 100.0
BUILD_SECONDS = 600.0
"""What a first build may take, which fetches everything."""
BROKER_IMAGE = "eclipse-mosquitto:2"


def available() -> bool:
    return os.environ.get("MSO_TEST_DOCKER") == "yes"


def build_network() -> str:
    return os.environ.get("MSO_TEST_DOCKER_BUILD_NETWORK", "default")


def new_name() -> str:
    """A name that no other test has, for a container, a network or a project."""
    return f"mso-test-{uuid.uuid4().hex[:10]}"


def run(
    *command: str,
    check: bool = True,
    seconds: float = PATIENCE_SECONDS,
    directory: Path = ROOT,
    environment: Mapping[str, str] | None = None,
    given: str = "",
) -> subprocess.CompletedProcess[str]:
    """A command with all that it says; that it fails is an AssertionError with its own words."""
    done = subprocess.run(
        command,
        input=given,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
        cwd=directory,
        env=environment,
    )
    assert not check or done.returncode == 0, f"{' '.join(command)}: {done.stdout[-4000:]}{done.stderr[-4000:]}"
    return done


def docker(*arguments: str, check: bool = True, seconds: float = PATIENCE_SECONDS) -> str:
    return run("docker", *arguments, check=check, seconds=seconds).stdout.strip()


def inspect(name: str) -> dict[str, Any]:
    """Of an image, a container, a network or a volume."""
    found: dict[str, Any] = json.loads(docker("inspect", name))[0]
    return found


def python(image: str, program: str) -> Any:
    """What a program says on its standard output as JSON, with the Python of an image."""
    return json.loads(
        run("docker", "run", "--rm", "--interactive", "--entrypoint", "python3", image, "-", given=program).stdout
    )


def wait_until(condition: Callable[[], bool], what: Callable[[], str]) -> None:
    """For what an engine does: it can only be looked at again. `what` tells in what state that was given up."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, what()
        time.sleep(0.1)


class Container:
    """One that is started by `with`, and gone with its anonymous volumes after it."""

    def __init__(self, image: str, *command: str, options: tuple[str, ...] = ()) -> None:
        self.name = new_name()
        self._run = ("run", "--detach", "--name", self.name, *options, image, *command)

    def __enter__(self) -> Self:
        docker(*self._run)
        return self

    def __exit__(self, *exc_info: object) -> None:
        docker("rm", "--force", "--volumes", self.name)

    @property
    def state(self) -> dict[str, Any]:
        state: dict[str, Any] = inspect(self.name)["State"]
        return state

    def health(self) -> str:
        """`starting`, `healthy` or `unhealthy`, of a container that lives."""
        state = self.state
        assert state["Running"], self.log()[-4000:]
        health: str = state["Health"]["Status"]
        return health

    def wait_for_health(self, health: str) -> None:
        wait_until(lambda: self.health() == health, lambda: f"{self.state['Health']}\n{self.log()[-4000:]}")

    def log(self) -> str:
        done = run("docker", "logs", self.name)
        return done.stdout + done.stderr

    def events(self, name: str) -> list[dict[str, Any]]:
        """What a service in it logged under this name."""
        lines = [json.loads(line) for line in self.log().splitlines() if line.startswith("{")]
        return [line for line in lines if line["event"] == name]

    def wait_for_event(self, name: str) -> dict[str, Any]:
        def came() -> bool:
            assert self.state["Running"] or self.events(name), self.log()[-4000:]
            return bool(self.events(name))

        wait_until(came, lambda: f"{name} did not come:\n{self.log()[-4000:]}")
        return self.events(name)[0]

    def execute(self, *command: str) -> str:
        return docker("exec", self.name, *command)

    def published(self, port: int) -> int:
        """Where a port of it is on this machine."""
        return int(docker("port", self.name, str(port)).splitlines()[0].rpartition(":")[2])

    def stop(self) -> tuple[int, float]:
        """SIGTERM to process 1, and SIGKILL after 30 s: its exit code, and how many seconds it took."""
        started = time.monotonic()
        docker("stop", "--time", "30", self.name)
        return self.state["ExitCode"], time.monotonic() - started
