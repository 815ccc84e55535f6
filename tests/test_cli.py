"""What is typed, and what comes back."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mso import __version__


def mso(*arguments: str, directory: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run it with nothing in its environment but the PATH and these."""
    return subprocess.run(
        [sys.executable, "-m", "mso", *arguments],
        cwd=directory,
        env={"PATH": os.environ["PATH"], **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def images(tmp_path: Path) -> str:
    path = tmp_path / "images.json"
    path.write_text(json.dumps({"a:1": ["sleep", "5"]}))
    return str(path)


def test_without_a_command_it_explains_itself(tmp_path: Path) -> None:
    """Status 2, and the help with its examples."""
    told = mso(directory=tmp_path)
    assert told.returncode == 2
    assert "examples:" in told.stdout


def test_it_knows_its_version(tmp_path: Path) -> None:
    """The version is that of the package."""
    assert mso("--version", directory=tmp_path).stdout == f"mso {__version__}\n"


def test_one_error_lists_everything_that_is_wrong(tmp_path: Path) -> None:
    """Status 2, a line for each mistake, no traceback, and no secret."""
    told = mso(
        "run",
        directory=tmp_path,
        SIMULATOR_NAME="a,,b c",
        MQTT_PORT="many",
        MQTT_PASSWORD="not-to-be-seen",
        MSO_BACKPLANE="local",
        MSO_LOCAL_IMAGES="/no/such/file",
        MSO_STOP_GRACE_SECONDS="nan",
        LOG_LEVEL="loud",
    )
    assert told.returncode == 2
    lines = [line for line in told.stderr.splitlines() if line.startswith("  - ")]
    for variable in ("SIMULATOR_NAME", "MQTT_PORT", "MQTT_PASSWORD", "MSO_LOCAL_IMAGES", "MSO_STOP_GRACE", "LOG_LEVEL"):
        assert any(variable in line for line in lines), told.stderr
    assert "not-to-be-seen" not in told.stderr + told.stdout
    assert "Traceback" not in told.stderr


def test_check_prints_what_is_in_force_and_starts_nothing(tmp_path: Path, images: str) -> None:
    """The effective configuration from .env and environment, secrets hidden."""
    (tmp_path / ".env").write_text(
        "SIMULATOR_NAME=from-file\nMQTT_USERNAME=me\nMQTT_PASSWORD='a ${secret} '\nMQTT_HOST=\n"
    )
    told = mso("run", "--check", directory=tmp_path, MSO_BACKPLANE="local", MSO_LOCAL_IMAGES=images, MQTT_HOST="there")
    assert told.returncode == 0, told.stderr
    assert "SIMULATOR_NAME=from-file" in told.stdout
    assert "MQTT_HOST=there" in told.stdout
    assert "MQTT_PASSWORD=****" in told.stdout
    assert "secret" not in told.stdout
    assert not (tmp_path / ".mso").exists()


def test_check_reads_the_file_of_images(tmp_path: Path) -> None:
    """A mistake in it is found without starting anything."""
    (tmp_path / "images.yaml").write_text("a: [no-such-program-anywhere]\n")
    told = mso(
        "run", "--check", directory=tmp_path, SIMULATOR_NAME="so", MSO_BACKPLANE="local", MSO_LOCAL_IMAGES="images.yaml"
    )
    assert told.returncode == 2
    assert "no-such-program-anywhere" in told.stderr


def test_an_env_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    """Who names a file means it."""
    told = mso("run", "--env-file", "nowhere", directory=tmp_path)
    assert told.returncode == 2
    assert "nowhere" in told.stderr


def test_without_a_way_to_a_cluster_it_says_what_to_set(tmp_path: Path) -> None:
    """Kubernetes is the default, and a cluster is not everywhere."""
    told = mso("run", directory=tmp_path, SIMULATOR_NAME="so", KUBECONFIG=str(tmp_path / "none"), LOG_FORMAT="json")
    assert told.returncode == 1
    for what in ("service.cannot_start", "KUBERNETES_API_TOKEN", "KUBECONFIG", "MSO_BACKPLANE=local"):
        assert what in told.stderr


def test_a_pod_template_that_cannot_be_used_is_told_at_once(tmp_path: Path) -> None:
    """Exit status 2, with what is wrong, and nothing started."""
    template = tmp_path / "template.yaml"
    template.write_text("template: {spec: {containers: {model: {}}}}")
    for arguments in (("run",), ("run", "--check"), ("cleanup", "--simulation", "sim")):
        told = mso(*arguments, directory=tmp_path, SIMULATOR_NAME="so", MSO_POD_TEMPLATE_FILE=str(template))
        assert told.returncode == 2
        assert "containers must be a list" in told.stderr


def test_cleanup_says_that_there_is_nothing(tmp_path: Path) -> None:
    """Nothing left is success; without the name of a simulation nothing is touched."""
    images = tmp_path / "images.yaml"
    images.write_text("a: [sh]")
    local = {"SIMULATOR_NAME": "so", "MSO_BACKPLANE": "local", "MSO_LOCAL_IMAGES": str(images)}
    told = mso("cleanup", "--simulation", "sim", "--dry-run", directory=tmp_path, **local)
    assert (told.returncode, told.stdout) == (0, "nothing of sim is there\n")
    assert mso("cleanup", directory=tmp_path, **local).returncode == 2
