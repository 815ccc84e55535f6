"""The images: what is in them, who they run as, and how they begin and end."""

import datetime
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import mso
from tests.images.conftest import Images
from tests.images.engine import (
    BROKER_IMAGE,
    ROOT,
    Container,
    docker,
    inspect,
    new_name,
    python,
    run,
    wait_until,
)
from tests.mosquitto import PASSWORD, USERNAME
from tests.peer import Peer, configuration, order

NAMES = ("mso", "fake_model", "fake_simulator")
STATE = "/var/lib/mso"
MODELS = 500
"""As many as are being deployed when SIGTERM comes (fault R4)."""
STOP_SECONDS = 10.0
CANARY = "canary-5d1c"


@pytest.fixture
def broker(tmp_path: Path) -> Iterator["Broker"]:
    network = new_name()
    docker("network", "create", network)
    try:
        with Broker(tmp_path, network) as started:
            yield started
    finally:
        docker("network", "rm", network)


class Broker(Container):
    """A Mosquitto that lets anybody in, reached as `broker` on its network and by a port of this machine."""

    host = "127.0.0.1"
    username, password = USERNAME, PASSWORD

    def __init__(self, directory: Path, network: str) -> None:
        file = directory / "mosquitto.conf"
        file.write_text("listener 1883\nallow_anonymous true\n")
        file.chmod(0o644)
        self.network = network
        way = ("--network", network, "--network-alias", "broker", "--publish", "127.0.0.1::1883")
        super().__init__(BROKER_IMAGE, options=(*way, "--volume", f"{file}:/mosquitto/config/mosquitto.conf:ro"))

    @property
    def port(self) -> int:
        return self.published(1883)


def service(images: Images, broker: Broker, directory: Path, *options: str) -> Container:
    """`mso run` with models as processes in its own container, which is what needs nothing else."""
    file = directory / "images.json"
    file.write_text(json.dumps({"waits": ["sleep", "600"]}))
    file.chmod(0o644)
    variables = {
        "SIMULATOR_NAME": "test-so",
        "MQTT_HOST": "broker",
        "MSO_BACKPLANE": "local",
        "MSO_LOCAL_IMAGES": "/images.json",
    }
    given = [part for name, value in variables.items() for part in ("--env", f"{name}={value}")]
    mounted = (
        "--volume",
        f"{file}:/images.json:ro",
        "--health-interval",
        "1s",
        "--health-retries",
        "1",
        "--health-start-period",
        "1s",
    )
    return Container(images.mso, options=("--network", broker.network, *given, *mounted, *options))


@pytest.mark.parametrize("name", NAMES)
def test_who_made_it_of_what_and_when_is_on_the_label(images: Images, name: str) -> None:
    """Whoever finds an image in a registry knows which source it is."""
    labels = inspect(getattr(images, name))["Config"]["Labels"]
    said = {key.removeprefix("org.opencontainers.image."): value for key, value in labels.items()}
    assert said.keys() >= {"title", "description", "licenses", "version", "revision", "created", "source"}
    assert (said["version"], said["licenses"]) == (mso.__version__, "Apache-2.0")
    assert said["title"]
    assert said["description"]
    if revision := run("git", "rev-parse", "HEAD", check=False).stdout.strip():
        assert said["revision"].removesuffix("-modified") == revision
    created = datetime.datetime.fromisoformat(said["created"])
    assert datetime.timedelta() <= datetime.datetime.now(datetime.UTC) - created < datetime.timedelta(hours=2)


@pytest.mark.parametrize("name", NAMES)
def test_nobody_in_it_is_root(images: Images, name: str) -> None:
    """A numeric user, which Kubernetes can tell from root without looking into the image; and none who becomes root."""
    image = getattr(images, name)
    user, _, group = inspect(image)["Config"]["User"].partition(":")
    assert (user.isdecimal(), group.isdecimal()) == (True, True)
    ids = docker("run", "--rm", "--entrypoint", "id", image, "-u")
    assert (ids, ids != "0") == (user, True)


@pytest.mark.parametrize("name", NAMES)
def test_its_entry_point_is_a_program_and_no_shell(images: Images, name: str) -> None:
    """Arguments of docker run reach the program."""
    image = getattr(images, name)
    entry = inspect(image)["Config"]["Entrypoint"]
    assert entry[0] not in ("/bin/sh", "sh", "/bin/bash", "bash")
    assert "usage: " in docker("run", "--rm", image, "--help")


@pytest.mark.parametrize("name", NAMES)
def test_it_carries_no_tools(images: Images, name: str) -> None:
    """Nothing installs, builds or tests anything in an image that runs."""
    tools = ("pip", "setuptools", "hatchling", "pytest")
    look = f"import importlib.util, json; print(json.dumps([t for t in {tools} if importlib.util.find_spec(t)]))"
    assert python(getattr(images, name), look) == []


INSTALLED = """
import importlib.metadata, json, os, platform, sys
environment = {
    "implementation_name": sys.implementation.name,
    "os_name": os.name,
    "platform_machine": platform.machine(),
    "platform_python_implementation": platform.python_implementation(),
    "platform_system": platform.system(),
    "python_full_version": platform.python_version(),
    "python_version": ".".join(platform.python_version_tuple()[:2]),
    "sys_platform": sys.platform,
}
places = [path for path in sys.path if path.startswith(("/opt", "/app"))]
found = {one.name: one.version for one in importlib.metadata.distributions(path=places)}
print(json.dumps([found, environment]))
"""


def installed(image: str) -> tuple[dict[str, str], dict[str, str]]:
    """The distributions in an image with their versions, and what requirements.txt locks for its platform."""
    found, environment = python(image, INSTALLED)
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    locked = [Requirement(line.removesuffix("\\")) for line in lines if line and not line.startswith((" ", "#"))]
    return (
        {canonicalize_name(name): version for name, version in found.items()},
        {
            canonicalize_name(one.name): str(one.specifier).removeprefix("==")
            for one in locked
            if one.marker is None or one.marker.evaluate(environment)
        },
    )


def test_what_is_locked_is_what_the_service_runs_on(images: Images) -> None:
    """Every distribution of requirements.txt in its version, and nothing besides them but the service."""
    found, locked = installed(images.mso)
    assert found == locked | {"model-services-orchestrator": mso.__version__}


@pytest.mark.parametrize("name", ("fake_model", "fake_simulator"))
def test_the_fake_parts_run_on_what_is_locked(images: Images, name: str) -> None:
    """A part of requirements.txt, in the same versions."""
    found, locked = installed(getattr(images, name))
    assert found
    assert found.items() <= locked.items()


CLIENT = """
import json, pkgutil, sys
import kubernetes.aio.config, mso.backplane.kubernetes_api, mso.backplane.kubernetes_lease, mso.service
for module in pkgutil.walk_packages(kubernetes.aio.config.__path__, "kubernetes.aio.config."):
    if not module.name.endswith("_test"):
        __import__(module.name)
print(json.dumps(sorted(name for name in sys.modules if name.startswith("kubernetes"))))
"""


def test_the_client_of_kubernetes_lacks_nothing_that_is_loaded(images: Images) -> None:
    """Of the classes that the image leaves out the service loads none, whatever credentials it is given."""
    here = json.loads(subprocess.check_output([sys.executable, "-c", CLIENT], cwd=ROOT, text=True))
    assert "kubernetes.aio.client.api_client" in here
    assert python(images.mso, CLIENT) == here


def test_no_secret_gets_into_a_build(python_image: str, tmp_path: Path) -> None:
    """The context of a build holds what git knows of the parts that go into images: nothing that else lies about."""
    checkout = tmp_path / "checkout"
    shutil.copytree(ROOT, checkout, ignore=shutil.ignore_patterns(".git", ".venv", ".*_cache", "__pycache__"))
    for name in (
        *(
            ".env",
            ".env.local",
            "mso/.env",
            "simulation_components/fake_model/.env",
            "kubeconfig",
            ".mso/ledger.sqlite",
        ),
        *("simulation_components/mosquitto/generated/clients/mso.env", "mso/.mso/ledger.sqlite", "mso/broker/tls.key"),
        *(
            "k8s_cluster_configuration/token",
            "simulation_components/fake_simulator/ca.pem",
            "docker-compose.override.yml",
        ),
    ):
        file = checkout / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"PASSWORD={CANARY}\n")
    seen = tmp_path / "seen"
    command = ("docker", "build", "--file", "-", "--output", f"type=local,dest={seen}", str(checkout))
    run(*command, given="FROM scratch\nCOPY . /\n")
    files = {str(path.relative_to(seen)) for path in seen.rglob("*") if path.is_file()}
    assert {name for name in files if CANARY in (seen / name).read_text(errors="replace")} == set()
    parts = ("mso", "simulation_components/fake_model", "simulation_components/fake_simulator")
    known = run("git", "ls-files", "--cached", "--others", "--exclude-standard", *parts).stdout.splitlines()
    single = {"LICENSE", "README.md", "dev-requirements.txt", "pyproject.toml", "requirements.txt"}
    assert files == single | {name for name in known if not name.endswith("Dockerfile")}


def test_the_configuration_is_checked(images: Images) -> None:
    """`mso run --check` in the image says what is in force, and what is wrong."""
    given = ("docker", "run", "--rm", "--env", "SIMULATOR_NAME=test-so")
    right = run(*given, images.mso, "run", "--check")
    assert f"MSO_STATE_DIR={STATE}\n" in right.stdout
    wrong = run(*given, "--env", "MQTT_PORT=none", images.mso, "run", "--check", check=False)
    assert (wrong.returncode, "MQTT_PORT" in wrong.stderr) == (2, True)


def test_sigterm_ends_it_in_the_middle_of_deploying(images: Images, broker: Broker, tmp_path: Path) -> None:
    """Process 1 is the service itself: it hears SIGTERM, and ends in good order within 10 s (fault R4)."""
    with service(images, broker, tmp_path) as running:
        running.wait_for_event("broker.connected")
        with Peer(broker) as peer:
            peer.deploy("sim-1", order(*(configuration(f"m-{number}", "waits") for number in range(MODELS))))
        running.wait_for_event("model.deployed")
        exit_code, seconds = running.stop()
        assert (exit_code, seconds < STOP_SECONDS) == (0, True), (
            f"{exit_code} after {seconds} s\n{running.log()[-2000:]}"
        )
        assert running.events("service.stopped")


def test_its_health_is_that_of_the_service(images: Images, broker: Broker, tmp_path: Path) -> None:
    """Healthy when it runs, on whatever port; unhealthy when process 1 lives and does nothing; and healthy again."""
    with service(images, broker, tmp_path, "--env", "MSO_HTTP_PORT=9123") as running:
        running.wait_for_event("broker.connected")
        running.wait_for_health("healthy")
        docker("kill", "--signal", "STOP", running.name)
        running.wait_for_health("unhealthy")
        docker("kill", "--signal", "CONT", running.name)
        running.wait_for_health("healthy")


@pytest.mark.parametrize("user", ("65532:65532", "1234567:0"), ids=("its own", "any of group 0"))
def test_it_writes_only_where_its_state_is(images: Images, broker: Broker, tmp_path: Path, user: str) -> None:
    """On a root file system that cannot be written it serves, as its own user and as any that a platform chooses."""
    locked = ("--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--user", user)
    with service(images, broker, tmp_path, *locked) as running:
        running.wait_for_event("broker.connected")
        assert running.execute("cat", "/proc/1/comm") == "mso"
        assert "ledger.sqlite" in running.execute("ls", STATE)


def test_the_demo_is_in_it(images: Images) -> None:
    """`docker run --rm mso demo` plays a simulation for who has nothing but Docker."""
    played = run("docker", "run", "--rm", "--read-only", images.mso, "demo", "--models", "1", "--run-seconds", "0")
    assert played.stdout.splitlines()[-1].endswith("All of it is as the scenario expects.")


def test_a_fake_model_is_process_1_and_hears_sigterm(images: Images, broker: Broker) -> None:
    """It ends with the exit code that tells so, and not with that of SIGKILL."""
    told = {"SIMULATION_ID": "sim-1", "MODEL_ID": "m-1", "MQTT_HOST": "broker", "MQTT_PORT": "1883"}
    given = [part for name, value in (told | {"RUN_SECONDS": "600"}).items() for part in ("--env", f"{name}={value}")]
    options = ("--network", broker.network, "--read-only", "--cap-drop", "ALL", *given)
    with Container(images.fake_model, options=options) as model:
        wait_until(lambda: "announced ReadyForProcessing" in model.log(), model.log)
        exit_code, seconds = model.stop()
    assert (exit_code, seconds < STOP_SECONDS) == (143, True)
