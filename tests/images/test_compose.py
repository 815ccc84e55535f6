"""The compose files, for real: what one command makes of a clone, and what is still there after the next ones."""

import json
import os
import re
import shutil
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import mso
from tests.images.engine import BUILD_SECONDS, ROOT, build_network, docker, new_name, run, wait_until
from tests.mosquitto import free_port

LOCAL, REGISTRY, KIND = (f"docker-compose.{name}.yml" for name in ("local", "registry", "kind"))
SOCKET = Path("/var/run/docker.sock")
PARTS = ("MSO_IMAGE", "FAKE_MODEL_IMAGE", "FAKE_SIMULATOR_IMAGE")


@dataclass(frozen=True, slots=True)
class Project:
    """A copy of the repository with an `.env`, as a newcomer makes one, under a project name of its own."""

    name: str
    directory: Path

    def compose(self, *arguments: str, file: str = LOCAL, seconds: float = BUILD_SECONDS, check: bool = True) -> str:
        """The standard output of a command of compose; what it tells on the way goes to its standard error."""
        command = ("docker", "compose", "--project-name", self.name, "--file", file, *arguments)
        # What is set where the tests run is not what .env says.
        environment = {name: os.environ[name] for name in ("PATH", "HOME", "DOCKER_HOST") if name in os.environ}
        done = run(*command, directory=self.directory, environment=environment, seconds=seconds, check=False)
        assert not check or done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}\n{self.log()[-5000:]}"
        return done.stdout

    def configuration(self, *files: str) -> dict[str, Any]:
        """What compose makes of files that are put on top of each other, with every profile."""
        others = [part for file in files[1:] for part in ("--file", file)]
        arguments = (*others, "--profile", "*", "config", "--format", "json")
        made: dict[str, Any] = json.loads(self.compose(*arguments, file=files[0]))
        return made

    def log(self) -> str:
        environment = {name: os.environ[name] for name in ("PATH", "HOME", "DOCKER_HOST") if name in os.environ}
        command = ("docker", "compose", "--project-name", self.name, "--file", LOCAL, "logs", "--no-color")
        done = run(*command, directory=self.directory, environment=environment, check=False)
        return done.stdout + done.stderr

    def events(self, name: str, **keys: object) -> list[dict[str, Any]]:
        """What the service logged under this name."""
        lines = [line.partition("| ")[2] for line in self.log().splitlines()]
        logged = [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]
        return [
            one for one in logged if one["event"] == name and all(one.get(key) == value for key, value in keys.items())
        ]

    def wait_for_event(self, name: str, **keys: object) -> None:
        wait_until(lambda: bool(self.events(name, **keys)), lambda: f"no {name} {keys}:\n{self.log()[-5000:]}")

    def models(self) -> set[str]:
        """The containers of models that run."""
        return set(docker("ps", "--quiet", "--filter", f"label=mso/project={self.name}").split())

    def published(self, service: str, port: int) -> int:
        return int(self.compose("port", service, str(port)).strip().rpartition(":")[2])


@pytest.fixture(scope="module")
def project(python_image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    name = new_name()
    directory = tmp_path_factory.mktemp("clone")
    for file in run("git", "ls-files", "--cached", "--others", "--exclude-standard").stdout.splitlines():
        copy = directory / file
        copy.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / file).is_file():
            shutil.copy2(ROOT / file, copy)
    settings = {
        "SIMULATOR_NAME": "fake-so",
        "LOG_LEVEL": "DEBUG",
        # Of this machine, and wrong in a container.
        "MQTT_USERNAME": "somebody",
        "MQTT_PASSWORD": "something",
        "MSO_LOCAL_IMAGES": "simulation_components/images.yaml",
        "KUBERNETES_HOST": "127.0.0.1",
        "KUBERNETES_PORT": "45123",
        "KUBERNETES_API_TOKEN": "a-token",
        "MQTT_PORT": str(free_port()),
        "MSO_HTTP_PORT": str(free_port()),
    }
    template = (ROOT / ".env.template").read_text()
    for variable, value in settings.items():
        template = re.sub(f"^{variable}=.*$", f"{variable}={value}", template, flags=re.MULTILINE)
    mine = {
        "DOCKER_GID": str(SOCKET.stat().st_gid),
        "PYTHON_IMAGE": python_image,
        "BUILD_NETWORK": build_network(),
        **{part: f"{name}/{part.removesuffix('_IMAGE').lower()}:try" for part in PARTS},
    }
    lines = "".join(f"{variable}={value}\n" for variable, value in mine.items())
    (directory / ".env").write_text(template + lines)
    made = Project(name, directory)
    try:
        yield made
    finally:
        made.compose("--profile", "*", "down", "--volumes", "--remove-orphans", check=False)
        if left := docker("ps", "--all", "--quiet", "--filter", f"label=mso/project={name}").split():
            docker("rm", "--force", "--volumes", *left)
        if volumes := docker("volume", "ls", "--quiet", "--filter", f"label=mso/project={name}").split():
            docker("volume", "rm", *volumes)
        docker("network", "rm", f"{name}_models", check=False)
        docker("rmi", "--force", *(mine[part] for part in PARTS), check=False)
        docker("image", "prune", "--force", "--filter", f"label=com.docker.compose.project={name}")


@pytest.mark.parametrize("files", ((LOCAL,), (REGISTRY,), (LOCAL, KIND), (REGISTRY, KIND)), ids="+".join)
def test_compose_takes_the_files(project: Project, files: tuple[str, ...]) -> None:
    """Without a warning."""
    others = [part for file in files[1:] for part in ("--file", file)]
    environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    command = ("docker", "compose", "--file", files[0], *others, "--profile", "*", "config", "--quiet")
    done = run(*command, directory=project.directory, environment=environment)
    assert (done.stdout, done.stderr) == ("", "")


def test_whoever_forgets_the_group_of_the_socket_is_told(project: Project) -> None:
    """Before anything is started: with the variable, and where its value is to be had."""
    environment = {"PATH": os.environ["PATH"]}
    command = ("docker", "compose", "--env-file", "/dev/null", "--file", LOCAL, "up")
    done = run(*command, directory=project.directory, environment=environment, check=False)
    assert done.returncode
    assert "DOCKER_GID" in done.stderr
    assert "stat -c %g /var/run/docker.sock" in done.stderr


def test_published_images_make_the_same_installation(project: Project) -> None:
    """The two files differ in where images come from, and in nothing else; one names those of this release."""
    local, registry = (project.configuration(file)["services"] for file in (LOCAL, REGISTRY))
    assert [name for name, service in registry.items() if "build" in service] == []
    for services in (local, registry):
        for service in services.values():
            for key in ("build", "pull_policy"):
                service.pop(key, None)
    assert registry == local
    text = (ROOT / REGISTRY).read_text()
    assert set(re.findall(r":-(\w+:[\d.]+)}", text)) == {f"mso:{mso.__version__}", f"fake_simulator:{mso.__version__}"}


def test_with_kind_the_api_is_that_of_the_node(project: Project) -> None:
    """Where .env says 127.0.0.1, compose says the node; the token is that of .env; no socket is handed in."""
    service = project.configuration(LOCAL, KIND)["services"]["mso"]
    variables = service["environment"]
    assert (variables["MSO_BACKPLANE"], variables["KUBERNETES_HOST"]) == ("kubernetes", "mso-control-plane")
    assert (variables["KUBERNETES_PORT"], variables["KUBERNETES_API_TOKEN"]) == ("6443", "a-token")
    assert "kind" in service["networks"]
    assert [one["target"] for one in service["volumes"] if "docker.sock" in one["target"]] == []
    assert service.get("group_add", []) == []


@pytest.fixture(scope="module")
def installation(project: Project) -> Project:
    """Everything is there after one command."""
    project.compose("up", "--build", "--wait")
    return project


def test_one_command_makes_an_installation(installation: Project) -> None:
    """It is ready, speaks to the broker as the user that was made for it, and lets nobody in who is none."""
    port = installation.published("mso", 8080)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=10) as answer:
        assert json.load(answer) == {"ok": True, "reasons": []}
    starting = installation.events("service.starting")[0]
    expected = {"MQTT_HOST": "mosquitto", "MQTT_USERNAME": "mso", "MSO_BACKPLANE": "docker", "LOG_LEVEL": "DEBUG"}
    assert starting.items() >= expected.items()
    publish = ("mosquitto_pub", "--topic", "/lifecycle/fake-so/mso/sim-1/DeployModels", "--null-message")
    installation.compose("exec", "--no-TTY", "mosquitto", *publish, check=False)
    assert "not authori" in installation.log()
    assert installation.events("message.refused") == []


def test_no_password_is_to_be_seen(installation: Project) -> None:
    """Not in the log, at its most talkative, nor in what the engine tells of the containers."""
    command = ("run", "--rm", "--no-deps", "--no-TTY", "set-up", "cat /generated/clients/*.env")
    passwords = re.findall(r"^MQTT_PASSWORD=(.+)$", installation.compose(*command), re.MULTILINE)
    assert len(passwords) == 3
    ours = f"label=com.docker.compose.project={installation.name}"
    told = installation.log() + docker("inspect", *docker("ps", "--all", "--quiet", "--filter", ours).split())
    assert [password for password in passwords if password in told] == []


def test_the_quickstart_is_played_with_containers(installation: Project) -> None:
    """The fake simulator hears what the scenario expects of models that run as containers on the same engine."""
    said = installation.compose("run", "--rm", "--build", "--no-TTY", "fake-simulator")
    assert said.splitlines()[-1] == "All of it is as the scenario expects."
    assert {one["reason"] for one in installation.events("model.failed")} == {"Error"}


def test_models_outlive_what_compose_takes_down(installation: Project) -> None:
    """`down` leaves models running; the next `up`, here with the other file, follows them to their end."""
    simulation = "outlives"
    play = ("--models", "2", "--run-seconds", "3600", "--simulation", simulation)
    installation.compose("run", "--build", "--detach", "fake-simulator", *play)
    installation.wait_for_event("simulation.ready", simulation=simulation)
    running = installation.models()
    assert len(running) == 2
    installation.compose("down")
    assert installation.models() == running
    installation.compose("up", "--wait", file=REGISTRY)
    installation.wait_for_event("simulation.restored", simulation=simulation, models=2, living=2)
    docker("kill", "--signal", "TERM", *running)
    installation.wait_for_event("simulation.reported", simulation=simulation)
    ends = installation.events("model.state_changed", simulation=simulation)
    assert [(one["now"], one["exit_code"]) for one in ends] == [("failed", 143)] * 2


POSTGRES = "postgres:17-alpine"
BEGIN = """\
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    echo "$POSTGRES_PASSWORD" >/tmp/password
    initdb --username "$POSTGRES_USER" --pwfile /tmp/password --auth scram-sha-256 --encoding UTF8 >/dev/null
    echo 'host all all all scram-sha-256' >>"$PGDATA/pg_hba.conf"
    echo "CREATE DATABASE $POSTGRES_DB" | postgres --single postgres >/dev/null
fi
exec postgres -c listen_addresses='*'
"""
STAND_IN = f"""\
FROM debian:bookworm-slim
RUN apt-get -qq update && apt-get -qq install --yes --no-install-recommends postgresql >/dev/null
ENV PATH=/usr/lib/postgresql/15/bin:/usr/bin:/bin PGDATA=/var/lib/postgresql/data
RUN install --directory --owner postgres /var/lib/postgresql/data
USER postgres
CMD {json.dumps(["sh", "-euc", BEGIN])}
"""
"""PostgreSQL of Debian that takes the variables of the official image, for an engine that cannot pull that."""


@pytest.fixture
def postgres_image() -> Iterator[str]:
    there = ("image", "inspect"), ("pull", "--quiet")
    if any(run("docker", *how, POSTGRES, check=False, seconds=BUILD_SECONDS).returncode == 0 for how in there):
        yield POSTGRES
        return
    name = f"{new_name()}:postgres"
    build = ("docker", "build", "--network", build_network(), "--tag", name, "-")
    run(*build, given=STAND_IN, seconds=BUILD_SECONDS)
    yield name
    docker("rmi", "--force", name)


def test_a_password_and_a_profile_make_the_ledger_a_database(installation: Project, postgres_image: str) -> None:
    """The service waits for the PostgreSQL beside it, and keeps its ledger there."""
    with (installation.directory / ".env").open("a") as env:
        env.write(f"POSTGRES_IMAGE={postgres_image}\nPOSTGRES_PASSWORD=tulip41\n")
    installation.compose("--profile", "postgres", "up", "--wait")
    query = "SELECT count(*) > 0 FROM mso_revision"
    psql = ("psql", "--username", "mso", "--dbname", "mso", "--no-align", "--tuples-only", "--command", query)
    password = ("--env", "PGPASSWORD=tulip41")
    command = ("--profile", "postgres", "exec", "--no-TTY", *password, "postgres", *psql)
    assert installation.compose(*command).strip() == "t"
    assert installation.events("service.starting")[-1]["MSO_DATABASE_URL"] == "****"
    assert "tulip41" not in installation.log()
