"""What java/ builds, beside Python and beside a real service. Skipped where there is no Maven or no JDK."""

import json
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import message_factory, text_format

from mso.protocol.messages import healthcheck_pb2, lifecycle_pb2
from tests.integration.conftest import StartMso
from tests.mosquitto import Mosquitto, free_port
from tests.peer import Peer, configuration, order
from tests.service import MsoProcess

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "docs" / "examples"
MAVEN = ("mvn", "--quiet", "--batch-mode", "--no-transfer-progress", "--file", str(ROOT / "java" / "pom.xml"))
MESSAGES = 500
MODELS = ("battery", "heat-pump")
PATIENCE_SECONDS = 60

pytestmark = [
    pytest.mark.skipif(not (shutil.which("mvn") and shutil.which("javac")), reason="no Maven or no JDK"),
    # the first time Maven fetches what it builds with
    pytest.mark.timeout(600),
]


def maven(*arguments: str) -> None:
    done = subprocess.run([*MAVEN, *arguments], capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[-8000:]


# -- the messages -----------------------------------------------------------------------------------------------------


def anything(message: Any, chance: random.Random) -> Any:
    """The message, with some of its fields filled with whatever they can hold."""
    for field in message.DESCRIPTOR.fields:
        for _ in range(chance.randint(0, 3) if field.is_repeated else chance.randint(0, 1)):
            if field.message_type:
                value = getattr(message, field.name)
                inner = value.add() if field.is_repeated else value
                inner.SetInParent()
                anything(inner, chance)
            elif field.is_repeated:
                getattr(message, field.name).append(any_value(field, chance))
            else:
                setattr(message, field.name, any_value(field, chance))
    return message


def any_value(field: Any, chance: random.Random) -> Any:
    match field.type:
        case field.TYPE_STRING:
            points = (chance.choice((0x7F, 0x7FF, 0xD7FF, 0x10FFFF)) for _ in range(chance.choice((0, 1, 5, 200))))
            return "".join(map(chr, (chance.randint(0, most) for most in points))).encode("utf-8", "ignore").decode()
        case field.TYPE_DOUBLE:
            (number,) = struct.unpack("<d", chance.randbytes(8))
            return number if number == number else 0.0
        case field.TYPE_INT32 | field.TYPE_ENUM:
            return chance.choice((0, 1, 2, 127, 128, -1, 2**31 - 1, -(2**31), chance.randint(-(2**31), 2**31 - 1)))
        case field.TYPE_INT64:
            return chance.randint(-(2**63), 2**63 - 1)
        case field.TYPE_UINT32:
            return chance.choice((0, 1, 128, 2**31, 2**32 - 1, chance.randint(0, 2**32 - 1)))
        case field.TYPE_BOOL:
            return chance.random() < 0.5
        case _:
            raise AssertionError(f"no value for {field.full_name}")


def test_python_and_java_write_the_same_and_read_each_other(tmp_path: Path) -> None:
    """Whatever a message holds, Java reads in Python's bytes what Python wrote, and writes the same bytes for it."""
    types = [
        message_factory.GetMessageClass(descriptor)
        for module in (lifecycle_pb2, healthcheck_pb2)
        for descriptor in module.DESCRIPTOR.message_types_by_name.values()
    ]
    chance = random.Random(41)
    lines = []
    for number in range(MESSAGES):
        message = anything(types[number % len(types)](), chance)
        lines.append(f"[{message.DESCRIPTOR.name}] version 2: message {number}")
        lines.append(text_format.MessageToString(message, as_utf8=True) + f"= {message.SerializeToString().hex()}")
    golden = tmp_path / "golden.txt"
    golden.write_text("\n".join([*lines, ""]))
    maven("--projects", "mso-messages", "test", "-Dtest=GoldenTest", f"-Dmso.golden={golden}")
    report = ROOT / "java/mso-messages/target/surefire-reports"
    (ran,) = report.glob("TEST-*GoldenTest.xml")
    assert f'tests="{MESSAGES}"' in ran.read_text()


# -- the example ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def example() -> Path:
    """The jar of the simulation orchestrator in Java."""
    maven("package", "-DskipTests")
    return ROOT / "java/example/target/mso-example.jar"


@pytest.fixture
def mso(mosquitto: Mosquitto, start_mso: StartMso) -> MsoProcess:
    """A service that serves `example-so`, and knows the images of the example."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # the file of images says just `python3`
    return start_mso(mosquitto, "example-so", MSO_LOCAL_IMAGES=str(EXAMPLES / "images.yaml"), PATH=path)


def variables(mosquitto: Mosquitto) -> dict[str, str]:
    """What orchestrator and models find the broker by."""
    return {
        "MQTT_HOST": mosquitto.host,
        "MQTT_PORT": str(mosquitto.port),
        "MQTT_USERNAME": mosquitto.username,
        "MQTT_PASSWORD": mosquitto.password,
    }


def start(example: Path, broker: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        ["java", "-jar", str(example)],
        env={"PATH": os.environ["PATH"], **broker},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def said(orchestrator: subprocess.Popen[str], status: int = 0) -> list[str]:
    """What it printed until it ended, as it should."""
    try:
        printed, complaints = orchestrator.communicate(timeout=PATIENCE_SECONDS)
    finally:
        orchestrator.kill()
    assert orchestrator.returncode == status, complaints
    return printed.splitlines()


def test_an_orchestrator_in_java_plays_a_simulation(example: Path, mosquitto: Mosquitto, mso: MsoProcess) -> None:
    """Both models are ready, calculate one step, end well, and are reported, each once; and so in the next run."""
    for _ in range(2):
        heard = said(start(example, variables(mosquitto)))
        assert heard[0] == "sim-1 ModelsReady"
        assert heard[-1] == "sim-1 AllModelsHaveTerminated"
        for model in MODELS:
            assert heard.count(f"{model} CalculationsDone") == 1
            assert heard.count(f"{model} ModelHasTerminated") == 1
        assert heard.count('reason: "Completed"') == 2
    assert [event["run"] for event in mso.events("simulation.added")] == [1, 2]


def test_an_orchestrator_in_java_ends_where_there_is_no_broker(example: Path) -> None:
    """It says so, and no thread keeps it alive."""
    nobody = {"MQTT_HOST": "127.0.0.1", "MQTT_PORT": str(free_port()), "MQTT_USERNAME": "me", "MQTT_PASSWORD": "secret"}
    assert said(start(example, nobody), status=1) == []


def test_an_orchestrator_in_java_hears_why_it_was_refused(example: Path, mosquitto: Mosquitto, mso: MsoProcess) -> None:
    """While its simulation lives with another `battery`, its request is refused; it says so, and fails."""
    battery = configuration(
        "battery", "example-model:1", **variables(mosquitto), SIMULATION_ID="sim-1", MODEL_ID="another"
    )
    with Peer(mosquitto, "example-so") as other:
        other.deploy("sim-1", order(battery))
        mso.wait_for_event("model.deployed")
        heard = said(start(example, variables(mosquitto)), status=1)
    assert heard[0] == "sim-1 DeployModelsRejected"
    assert any(line.startswith("errors:") and "battery" in line for line in heard)


def test_an_orchestrator_in_java_misses_nothing_while_it_is_away(
    example: Path, mosquitto: Mosquitto, start_mso: StartMso, tmp_path: Path
) -> None:
    """ModelsReady goes out behind a restart of the broker while it stands still; one run is played to its end."""
    over = tmp_path / "over"
    images = tmp_path / "images.json"
    images.write_text(json.dumps({"example-model:1": ["sh", "-c", f"until [ -e '{over}' ]; do sleep 0.1; done"]}))
    mso = start_mso(mosquitto, "example-so", MSO_LOCAL_IMAGES=str(images))
    orchestrator = start(example, variables(mosquitto))
    mso.wait_for_event("simulation.added")
    orchestrator.send_signal(signal.SIGSTOP)
    mosquitto.restart()
    with Peer(mosquitto, "example-so") as other:
        other.ready("sim-1", *MODELS)
        other.wait_for("sim-1", "ModelsReady")
        orchestrator.send_signal(signal.SIGCONT)
        for model in MODELS:
            other.publish(f"/lifecycle/model/example-so/sim-1/{model}/CalculationsDone")
        over.touch()
        heard = said(orchestrator)
    assert heard[0] == "sim-1 ModelsReady"
    assert heard[-1] == "sim-1 AllModelsHaveTerminated"
    for model in MODELS:
        assert heard.count(f"{model} CalculationsDone") == 1
        assert heard.count(f"{model} ModelHasTerminated") == 1
    assert [event["run"] for event in mso.events("simulation.added")] == [1]
