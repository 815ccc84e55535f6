"""The fake model as a process, on a real broker."""

import signal
import time

import pytest

from mso.protocol.messages import lifecycle_pb2
from tests.mosquitto import Mosquitto, free_port
from tests.simulation_components.conftest import Parts, Peer

pytestmark = [pytest.mark.broker, pytest.mark.process]

IDS = {"SIMULATION_ID": "sim", "MODEL_ID": "heat-pump", "SIMULATOR_NAME": "fake-so"}
READY = "/lifecycle/model/mso/sim/heat-pump/ReadyForProcessing"
TO_MODEL = "/lifecycle/fake-so/model/sim/heat-pump"
FROM_MODEL = "/lifecycle/model/fake-so/sim/heat-pump"


def test_announces_ready_and_ends_well(parts: Parts, peer: Peer, address: dict[str, str]) -> None:
    """A model announces ReadyForProcessing at QoS 1, as no bytes and not retained, works, and exits with 0."""
    model = parts.start("fake_model", {**IDS, **address, "RUN_SECONDS": "0.1"})
    announcement = peer.next()
    assert (announcement.topic, announcement.payload) == (READY, b"")
    assert (announcement.qos, announcement.retain) == (1, False)
    code, output, errors = model.ends()
    assert (code, errors) == (0, "")
    assert output.endswith("the model is done\n")
    assert peer.all_so_far() == []


def test_prints_its_configuration_first(parts: Parts, peer: Peer, address: dict[str, str]) -> None:
    """The first that a model prints is its configuration, and its password is nowhere in what it prints."""
    code, output, errors = parts.start("fake_model", {**IDS, **address, "RUN_SECONDS": "0"}).ends()
    assert code == 0
    assert output.startswith("SIMULATION_ID: sim\nMODEL_ID: heat-pump\nMQTT_HOST: 127.0.0.1\n")
    assert "MQTT_PASSWORD: ****\n" in output
    assert address["MQTT_PASSWORD"] not in output + errors


def test_plays_a_whole_simulation(parts: Parts, peer: Peer, address: dict[str, str]) -> None:
    """Parameters are answered with Parameterized, a step with CalculationsDone; SimulationDone ends the model."""
    model = parts.start("fake_model", {**IDS, **address, "RUN_SECONDS": "until-done"})
    peer.wait_for(READY)
    peer.say(f"{TO_MODEL}/ModelParameters", lifecycle_pb2.ModelParameters(parameters_dict="{}").SerializeToString())
    assert peer.wait_for(f"{FROM_MODEL}/Parameterized").payload == b""
    for step in range(3):
        peer.say(f"{TO_MODEL}/NewStep", lifecycle_pb2.NewStep(parameters_dict=f"{step}").SerializeToString())
        assert peer.wait_for(f"{FROM_MODEL}/CalculationsDone").payload == b""
    peer.say(f"{TO_MODEL}/SimulationDone")
    code, output, _ = model.ends()
    assert code == 0
    assert "the simulation is done after 3 steps\n" in output


def test_crashes_after_it_was_ready(parts: Parts, peer: Peer, address: dict[str, str]) -> None:
    """A model that is told to crash was ready first, and its last words are a traceback."""
    code, _, errors = parts.start("fake_model", {**IDS, **address, "RUN_SECONDS": "0", "EXIT_CODE": "2"}).ends()
    assert code == 2
    assert errors.startswith("Traceback (most recent call last):\n")
    assert "CalculationError: the calculation of heat-pump did not converge while it was working" in errors
    assert peer.all_so_far() == [READY]


def test_crashes_before_it_is_ready(parts: Parts, peer: Peer, address: dict[str, str]) -> None:
    """A model that is told to crash before it is ready never says a word on the broker."""
    environment = {**IDS, **address, "RUN_SECONDS": "0", "EXIT_CODE": "1", "READY": "no"}
    code, _, errors = parts.start("fake_model", environment).ends()
    assert code == 1
    assert "CalculationError: the calculation of heat-pump did not converge while it was being set up" in errors
    assert peer.all_so_far() == []


def test_crashes_at_simulation_done(parts: Parts, peer: Peer, address: dict[str, str]) -> None:
    """SimulationDone ends a model with the exit code that it was told, also when that is a crash."""
    model = parts.start("fake_model", {**IDS, **address, "RUN_SECONDS": "until-done", "EXIT_CODE": "5"})
    peer.wait_for(READY)
    peer.say(f"{TO_MODEL}/SimulationDone")
    assert model.ends()[0] == 5


def test_stops_at_sigterm(parts: Parts, peer: Peer, address: dict[str, str]) -> None:
    """SIGTERM stops a working model at once; what it printed is not lost in a buffer."""
    model = parts.start("fake_model", {**IDS, **address, "RUN_SECONDS": "until-done"})
    peer.wait_for(READY)
    began = time.monotonic()
    model.process.send_signal(signal.SIGTERM)
    code, output, errors = model.ends()
    assert time.monotonic() - began < 3
    assert (code, errors) == (143, "")
    assert output.endswith("stopped by SIGTERM\n")


def test_what_it_prints_is_written_at_once(parts: Parts, peer: Peer, address: dict[str, str]) -> None:
    """The output of a model that is killed ends with what it printed last."""
    model = parts.start("fake_model", {**IDS, **address, "RUN_SECONDS": "until-done"})
    assert model.process.stdout
    while model.process.stdout.readline() != "working until SimulationDone\n":
        assert model.process.poll() is None
    model.process.kill()
    assert model.ends()[0] == -signal.SIGKILL


def test_gives_up_without_a_broker(parts: Parts) -> None:
    """A model that finds no broker in time says where it looked, and exits with 70."""
    port = str(free_port())
    address = {"MQTT_HOST": "127.0.0.1", "MQTT_PORT": port, "CONNECT_TIMEOUT_SECONDS": "0.2"}
    code, _, errors = parts.start("fake_model", {**IDS, **address}).ends()
    assert code == 70
    assert errors == f"no broker at 127.0.0.1:{port} within 0.2 s: connection failed\n"


def test_says_that_the_broker_refuses_it(parts: Parts, address: dict[str, str]) -> None:
    """A wrong password is told from a broker that is not there."""
    environment = {**IDS, **address, "MQTT_PASSWORD": "wrong", "CONNECT_TIMEOUT_SECONDS": "1"}
    code, _, errors = parts.start("fake_model", environment).ends()
    assert code == 70
    assert "Not authorized" in errors


def test_says_what_is_wrong_with_its_tls_file(parts: Parts) -> None:
    """A model whose TLS file is not there says so, and exits with 70."""
    address = {"MQTT_HOST": "127.0.0.1", "MQTT_PORT": "1", "MQTT_TLS_CA_FILE": "/no/such/file"}
    code, _, errors = parts.start("fake_model", {**IDS, **address}).ends()
    assert code == 70
    assert errors.startswith("no TLS with MQTT_TLS_CA_FILE /no/such/file: ")


def test_outlives_its_broker(parts: Parts, peer: Peer, broker: Mosquitto, address: dict[str, str]) -> None:
    """A model goes on with the simulation when the broker is back, and announces itself only once."""
    model = parts.start("fake_model", {**IDS, **address, "RUN_SECONDS": "until-done"})
    peer.wait_for(READY)
    broker.kill()
    broker.start()
    with Peer(broker) as other:
        # Until the model is back, what is said to it is lost: say it until it answers.
        while not other.heard.qsize() or other.next().topic != f"{FROM_MODEL}/CalculationsDone":
            other.say(f"{TO_MODEL}/NewStep")
            time.sleep(0.1)
        other.say(f"{TO_MODEL}/SimulationDone")
        assert model.ends()[0] == 0
        assert READY not in other.all_so_far()


def test_wrong_environment(parts: Parts) -> None:
    """One message names every variable that is missing or wrong; exit code 64."""
    environment = {"SIMULATION_ID": "a/b", "MQTT_PORT": "many", "RUN_SECONDS": "-1", "EXIT_CODE": "256", "READY": "1"}
    code, output, errors = parts.start("fake_model", environment).ends()
    assert (code, output) == (64, "")
    for name in ("SIMULATION_ID", "MODEL_ID", "MQTT_HOST", "MQTT_PORT", "RUN_SECONDS", "EXIT_CODE", "READY"):
        assert f"\n  {name} " in errors


def test_help(parts: Parts) -> None:
    """--help shows every variable, with examples, and exits with 0; an argument that is none is a mistake."""
    code, output, _ = parts.start("fake_model", {}, "--help").ends()
    assert code == 0
    assert "examples:" in output
    assert parts.start("fake_model", {}, "work").ends()[0] == 64
