"""The fake simulator as a process, on a real broker; the test itself plays the Model Services Orchestrator."""

import json
import re
import signal
import threading
from pathlib import Path
from typing import Any

import pytest
from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from mso.protocol.messages import healthcheck_pb2, lifecycle_pb2
from tests.mosquitto import Mosquitto
from tests.simulation_components.conftest import LIMIT, Part, Parts, Peer

pytestmark = [pytest.mark.broker, pytest.mark.process]

TO_SO = "/lifecycle/mso/fake-so/sim"
TO_MSO = "/lifecycle/fake-so/mso/sim"
STATUS = "/healthcheck/mso/fake-so/Status"
SUCCESS = lifecycle_pb2.ModelHasTerminated(reason="Completed").SerializeToString()
TWENTY_STEPS = ("year", "--models", "2", "--steps", "20", "--simulation", "sim", "--json")
SCENARIO = """
simulation: sim
models:
  - {id: good, image: fake_model:0.0.1, expect: {reason: Completed, ready: true}}
  - {id: bad, image: fake_model:0.0.1, expect: {state: FAILED, exitCode: 2, logContains: diverged}}
expect: {modelsReady: false}
"""


@pytest.fixture
def scenario(tmp_path: Path) -> str:
    path = tmp_path / "scenario.yaml"
    path.write_text(SCENARIO)
    return str(path)


def online(peer: Peer) -> None:
    """MSO says that it is there."""
    peer.say(STATUS, healthcheck_pb2.MsoStatus(online=True).SerializeToString(), retain=True)


def deployment(peer: Peer) -> lifecycle_pb2.DeployModels:
    """Wait for the simulator to ask for its models."""
    return lifecycle_pb2.DeployModels.FromString(bytes(peer.wait_for(f"{TO_MSO}/DeployModels").payload))


def crash(exit_code: int) -> bytes:
    message = lifecycle_pb2.ModelHasTerminated(
        status=lifecycle_pb2.FAILED, exitCode=exit_code, reason="Error", lastLogLines=["Traceback", "it diverged"]
    )
    return message.SerializeToString()


def play_mso(peer: Peer, *, exit_code: int) -> None:
    """What MSO says to this scenario, if the second model crashes with this exit code."""
    peer.say("/lifecycle/model/mso/sim/good/ReadyForProcessing")
    peer.say(f"{TO_SO}/bad/ModelHasTerminated", crash(exit_code))
    peer.say(f"{TO_SO}/good/ModelHasTerminated", SUCCESS)
    peer.say(f"{TO_SO}/AllModelsHaveTerminated")


def said(output: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.splitlines()]


def next_said(part: Part, type_: str) -> dict[str, Any]:
    """What the simulator says next of this type, while it runs."""
    assert part.process.stdout
    for line in part.process.stdout:
        thing: dict[str, Any] = json.loads(line)
        if thing["type"] == type_:
            return thing
    raise AssertionError(f"it ended without saying {type_}")


def test_as_expected(parts: Parts, peer: Peer, address: dict[str, str], scenario: str) -> None:
    """It tells each message as it comes and a summary at last, and exits with 0 when all was as expected."""
    online(peer)
    simulator = parts.start("fake_simulator", address, "--scenario", scenario, "--json")
    request = deployment(peer)
    assert [configuration.modelID for configuration in request.modelConfigurations] == ["good", "bad"]
    play_mso(peer, exit_code=2)
    code, output, errors = simulator.ends()
    assert (code, errors) == (0, "")
    *told, summary = said(output)
    assert [(thing["type"], thing.get("message"), thing.get("model")) for thing in told] == [
        ("mso-status", None, None),
        ("asked", None, None),
        ("overheard", "ReadyForProcessing", "good"),
        ("received", "ModelHasTerminated", "bad"),
        ("received", "ModelHasTerminated", "good"),
        ("received", "AllModelsHaveTerminated", None),
    ]
    assert summary["type"] == "summary"
    assert summary["succeeded"] is True
    assert summary["differences"] == []
    assert summary["models"] == {
        "good": {"state": "SUCCEEDED", "exitCode": 0, "reason": "Completed", "ready": True},
        "bad": {"state": "FAILED", "exitCode": 2, "reason": "Error", "ready": False},
    }
    assert [message["message"] for message in summary["received"]] == [
        "ModelHasTerminated",
        "ModelHasTerminated",
        "AllModelsHaveTerminated",
    ]
    assert summary["received"][0]["lastLogLines"] == ["Traceback", "it diverged"]


def test_not_as_expected(parts: Parts, peer: Peer, address: dict[str, str], scenario: str) -> None:
    """People are shown what was received, with the last log lines and every difference; the exit status is 1."""
    online(peer)
    simulator = parts.start("fake_simulator", address, "--scenario", scenario)
    deployment(peer)
    play_mso(peer, exit_code=3)
    code, output, _ = simulator.ends()
    assert code == 1
    story = output.partition("What the simulation orchestrator received, in order:\n")[2]
    assert [line.split("  ", 1)[-1].strip() for line in re.sub(r"(?m)^ +[\d.]+ s", "", story).splitlines()] == [
        "bad  ModelHasTerminated  FAILED, exit code 3  Error",
        "| Traceback",
        "| it diverged",
        "good  ModelHasTerminated  SUCCEEDED, exit code 0  Completed",
        "AllModelsHaveTerminated",
        "not as expected: bad: exit code 3, expected 2",
    ]


def test_gives_up(parts: Parts, peer: Peer, address: dict[str, str], scenario: str) -> None:
    """After too long a silence it says what is missing, and tells MSO that the simulation is over."""
    online(peer)
    simulator = parts.start("fake_simulator", address, "--scenario", scenario, "--json", "--timeout", "0.5")
    deployment(peer)
    peer.say(f"{TO_SO}/bad/ModelHasTerminated", crash(2))
    code, output, _ = simulator.ends()
    assert code == 1
    assert said(output)[-1]["differences"] == [
        "gave up: nothing was heard for 0.5 s",
        "good: ModelHasTerminated never came, expected once",
        "good: never announced ReadyForProcessing",
        "AllModelsHaveTerminated never came, expected once",
    ]
    peer.wait_for(f"{TO_MSO}/SimulationDone")


def test_hears_what_comes_too_late(parts: Parts, peer: Peer, address: dict[str, str], scenario: str) -> None:
    """A message that follows the last one is noticed."""
    online(peer)
    simulator = parts.start("fake_simulator", address, "--scenario", scenario, "--json")
    deployment(peer)
    play_mso(peer, exit_code=2)
    peer.say(f"{TO_SO}/AllModelsHaveTerminated")
    code, output, _ = simulator.ends()
    assert code == 1
    assert said(output)[-1]["differences"] == ["AllModelsHaveTerminated came twice, expected once"]


def test_waits_for_mso(parts: Parts, peer: Peer, address: dict[str, str], scenario: str) -> None:
    """It asks for nothing before an MSO is online: to one that never was there, the request would be lost."""
    simulator = parts.start("fake_simulator", address, "--scenario", scenario, "--json", "--wait-for-mso", "60")
    next_said(simulator, "waiting-for-mso")
    assert peer.all_so_far() == []
    online(peer)
    deployment(peer)


def test_is_stopped(parts: Parts, peer: Peer, address: dict[str, str], scenario: str) -> None:
    """SIGTERM ends it; MSO is told that the simulation is over, so that no model is left running."""
    online(peer)
    simulator = parts.start("fake_simulator", address, "--scenario", scenario, "--json")
    next_said(simulator, "asked")
    deployment(peer)
    simulator.process.send_signal(signal.SIGTERM)
    assert simulator.ends()[0] == 143
    peer.wait_for(f"{TO_MSO}/SimulationDone")


def test_hears_what_was_said_while_it_was_away(tmp_path: Path, parts: Parts, scenario: str) -> None:
    """The broker keeps for it what MSO says while it is away, across a restart of the broker."""
    with Mosquitto(tmp_path / "keeps") as broker:
        address = {"MQTT_HOST": broker.host, "MQTT_PORT": str(broker.port)}
        address |= {"MQTT_USERNAME": broker.username, "MQTT_PASSWORD": broker.password}
        with Peer(broker) as peer:
            online(peer)
            simulator = parts.start("fake_simulator", address, "--scenario", scenario, "--json")
            deployment(peer)
        broker.restart()
        with Peer(broker) as peer:  # it is back before the simulator, which waits a second at least
            play_mso(peer, exit_code=2)
            peer.all_so_far()
        code, output, _ = simulator.ends()
    assert (code, said(output)[-1]["differences"]) == (0, [])


def test_leaves_no_session_behind(
    parts: Parts, peer: Peer, broker: Mosquitto, address: dict[str, str], scenario: str
) -> None:
    """When it has ended the broker keeps nothing for it."""
    online(peer)
    simulator = parts.start("fake_simulator", address, "--scenario", scenario, "--json")
    deployment(peer)
    play_mso(peer, exit_code=2)
    simulator.ends()
    (client_id,) = set(re.findall(r"as (fake-simulator-\w+) ", (broker.directory / "log").read_text()))
    kept: list[bool] = []
    connected = threading.Event()

    def on_connect(_client: mqtt.Client, _data: Any, flags: Any, _reason: Any, _properties: Any) -> None:
        kept.append(flags.session_present)
        connected.set()

    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=client_id, clean_session=False)
    client.username_pw_set(broker.username, broker.password)
    client.on_connect = on_connect
    client.connect(broker.host, broker.port)
    client.loop_start()
    assert connected.wait(LIMIT)
    client.disconnect()
    client.loop_stop()
    assert kept == [False]


def start_models(parts: Parts, request: lifecycle_pb2.DeployModels) -> dict[str, Part]:
    return {
        configuration.modelID: parts.start(
            "fake_model", {variable.name: variable.value for variable in configuration.environmentVariables}
        )
        for configuration in request.modelConfigurations
    }


def test_a_whole_year(parts: Parts, peer: Peer, address: dict[str, str]) -> None:
    """With real fake models a simulation is played from ModelsReady, step by step, to SimulationDone."""
    online(peer)
    simulator = parts.start("fake_simulator", address, *TWENTY_STEPS)
    request = deployment(peer)
    models = start_models(parts, request)
    for _ in models:
        while not peer.next().topic.endswith("/ReadyForProcessing"):
            pass
    peer.say(f"{TO_SO}/ModelsReady")
    peer.wait_for(f"{TO_MSO}/SimulationDone")
    for name, model in models.items():
        code, output, _ = model.ends()
        assert code == 0
        assert "the simulation is done after 20 steps" in output
        peer.say(f"{TO_SO}/{name}/ModelHasTerminated", SUCCESS)
    peer.say(f"{TO_SO}/AllModelsHaveTerminated")
    code, output, _ = simulator.ends()
    *told, summary = said(output)
    assert (code, summary["differences"]) == (0, [])
    assert [thing["done"] for thing in told if thing["type"] == "stepped"] == [2, 4, 6, 8, 10, 12, 14, 16, 18, 20]
    assert summary["stepsPerSecond"] > 0


def test_a_model_ends_in_the_middle_of_the_year(parts: Parts, peer: Peer, address: dict[str, str]) -> None:
    """When a model ends before the last step, the others and MSO are told that the simulation is over."""
    online(peer)
    simulator = parts.start("fake_simulator", address, *TWENTY_STEPS)
    deployment(peer)
    for model in ("fake_model_0", "fake_model_1"):
        peer.say(f"/lifecycle/model/mso/sim/{model}/ReadyForProcessing")
    peer.say(f"{TO_SO}/ModelsReady")
    peer.wait_for("/lifecycle/fake-so/model/sim/fake_model_1/ModelParameters")
    peer.say(f"{TO_SO}/fake_model_0/ModelHasTerminated", crash(1))
    peer.wait_for("/lifecycle/fake-so/model/sim/fake_model_1/SimulationDone")
    peer.wait_for(f"{TO_MSO}/SimulationDone")
    peer.say(f"{TO_SO}/fake_model_1/ModelHasTerminated", SUCCESS)
    peer.say(f"{TO_SO}/AllModelsHaveTerminated")
    code, output, _ = simulator.ends()
    assert code == 1
    assert "0 of 20 steps were calculated" in said(output)[-1]["differences"]


def test_speaks_version_1(parts: Parts, peer: Peer, address: dict[str, str]) -> None:
    """Version 1 knows no MsoStatus: the request goes out at once, and holds nothing of version 2."""
    simulator = parts.start(
        "fake_simulator", address, "--models", "1", "--simulation", "sim", "--protocol-version", "1"
    )
    request = deployment(peer)
    assert request.protocolVersion == 0
    peer.say("/lifecycle/model/mso/sim/fake_model_0/ReadyForProcessing")
    peer.say(f"{TO_SO}/ModelsReady")
    peer.say(f"{TO_SO}/fake_model_0/ModelHasTerminated")
    peer.say(f"{TO_SO}/AllModelsHaveTerminated")
    code, output, _ = simulator.ends()
    assert code == 0
    assert output.endswith("All of it is as the scenario expects.\n")
