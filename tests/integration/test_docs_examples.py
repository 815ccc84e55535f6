"""The two programs of docs/, word for word as they stand there, against a real service and a real broker."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.conftest import StartMso
from tests.mosquitto import Mosquitto
from tests.peer import Peer, configuration, order
from tests.service import MsoProcess

DOCS = Path(__file__).parents[2] / "docs"
EXAMPLES = DOCS / "examples"
PATIENCE_SECONDS = 60


@pytest.fixture
def mso(mosquitto: Mosquitto, start_mso: StartMso) -> MsoProcess:
    """A service that serves `example-so`, and knows the images of the example."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # the example says just `python3`
    return start_mso(mosquitto, "example-so", MSO_LOCAL_IMAGES=str(EXAMPLES / "images.yaml"), PATH=path)


def as_seen_from_here(mosquitto: Mosquitto) -> dict[str, str]:
    """The environment of a program that talks to the broker."""
    return {
        "MQTT_HOST": mosquitto.host,
        "MQTT_PORT": str(mosquitto.port),
        "MQTT_USERNAME": mosquitto.username,
        "MQTT_PASSWORD": mosquitto.password,
    }


def play(mosquitto: Mosquitto) -> list[str]:
    """Run the example of a simulation orchestrator to its end; what it printed."""
    orchestrator = subprocess.run(
        [sys.executable, EXAMPLES / "orchestrator.py"],
        env=as_seen_from_here(mosquitto),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert orchestrator.returncode == 0, orchestrator.stderr
    return orchestrator.stdout.splitlines()


def test_the_examples_play_a_simulation_together(mosquitto: Mosquitto, mso: MsoProcess) -> None:
    """Both models are ready, calculate one step, end well, and are reported, each once; then the whole is over."""
    said = play(mosquitto)
    assert said[0] == "sim-1 ModelsReady"
    assert said[-1] == "sim-1 AllModelsHaveTerminated"
    for model in ("battery", "heat-pump"):
        assert said.count(f"{model} CalculationsDone") == 1
        assert said.count(f"{model} ModelHasTerminated") == 1
    assert said.count('reason: "Completed"') == 2
    mso.wait_for_event("model.removed", 2)


def test_the_example_of_an_orchestrator_can_be_run_again(mosquitto: Mosquitto, mso: MsoProcess) -> None:
    """Ids come again: the same program with the same ids opens the next run."""
    play(mosquitto)
    play(mosquitto)
    assert [event["run"] for event in mso.events("simulation.added")] == [1, 2]


def test_the_example_of_an_orchestrator_hears_why_it_was_refused(mosquitto: Mosquitto, mso: MsoProcess) -> None:
    """While its simulation lives with another `battery`, its request is refused, and it says so and ends."""
    battery = configuration(
        "battery",
        "example-model:1",
        SIMULATION_ID="sim-1",
        MODEL_ID="another",
        MQTT_HOST=mosquitto.host,
        MQTT_PORT=str(mosquitto.port),
        MQTT_USERNAME=mosquitto.username,
        MQTT_PASSWORD=mosquitto.password,
    )
    with Peer(mosquitto, "example-so") as other:
        other.deploy("sim-1", order(battery))
        mso.wait_for_event("model.deployed")
    said = play(mosquitto)
    assert said[0] == "sim-1 DeployModelsRejected"
    assert any(line.startswith("errors:") and "battery" in line for line in said)


def test_a_model_of_ones_own_is_tried_as_the_page_says(
    mosquitto: Mosquitto, start_mso: StartMso, tmp_path: Path
) -> None:
    """The image, the scenario and the command of docs/write-a-model.md, with the model of that page."""
    page = (DOCS / "write-a-model.md").read_text()
    images, scenario = (re.search(rf"^```yaml\n({begin}.*?)^```", page, re.M | re.S) for begin in ('"my_model', "sim"))
    assert images
    assert scenario
    (tmp_path / "images.yaml").write_text(images[1].replace("model.py", str(EXAMPLES / "model.py")))
    (tmp_path / "mine.yaml").write_text(scenario[1])
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    start_mso(mosquitto, "fake-so", MSO_LOCAL_IMAGES=str(tmp_path / "images.yaml"), PATH=path)
    tried = subprocess.run(
        [sys.executable, "-m", "fake_simulator", "--scenario", "mine.yaml"],
        cwd=tmp_path,
        env=as_seen_from_here(mosquitto),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert tried.returncode == 0, tried.stdout + tried.stderr
    assert "SUCCEEDED" in tried.stdout
