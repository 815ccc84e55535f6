"""Whole simulations of real models in real containers, and what their orchestrator hears of them."""

from mso.protocol.messages.lifecycle_pb2 import ErrorOccurred, ModelConfiguration
from tests.cluster.conftest import StartMso
from tests.cluster.place import Place
from tests.kubernetes_cluster import Cluster, fake_model_image
from tests.mosquitto import Mosquitto
from tests.peer import Peer, configuration, order
from tests.service import MsoProcess
from tests.told import reasons, told


def fake_model(
    cluster: Cluster, broker: Mosquitto, simulation: str, model: str, **environment: str
) -> ModelConfiguration:
    """As a simulation orchestrator in the field asks for one."""
    return configuration(
        model,
        fake_model_image(cluster),
        SIMULATION_ID=simulation,
        MODEL_ID=model,
        MQTT_HOST=cluster.gateway(),
        MQTT_PORT=str(broker.port),
        MQTT_USERNAME=broker.username,
        MQTT_PASSWORD=broker.password,
        **environment,
    )


def test_the_models_of_the_quickstart_end_as_they_are_told_to(
    cluster: Cluster, broker: Mosquitto, mso: MsoProcess, peer: Peer
) -> None:
    """Two end well, one crashes before it is ready and one after: each is told once, with its last lines."""
    behaviour = [
        {"RUN_SECONDS": "2"},
        {"RUN_SECONDS": "0", "READY": "no", "EXIT_CODE": "1"},
        {"RUN_SECONDS": "1", "EXIT_CODE": "2"},
        {"RUN_SECONDS": "2"},
    ]
    models = [
        fake_model(cluster, broker, "sim02-abc", f"fake_model_{number}", **environment)
        for number, environment in enumerate(behaviour)
    ]
    peer.deploy("sim02-abc", order(*models, version=2))
    heard = peer.wait_for_end("sim02-abc")
    assert reasons(heard) == {
        "fake_model_0": ("Completed", 0),
        "fake_model_1": ("Error", 1),
        "fake_model_2": ("Error", 2),
        "fake_model_3": ("Completed", 0),
    }
    assert heard[0].name != "ModelsReady"
    ends = told(heard)
    for model in ("fake_model_1", "fake_model_2"):
        assert any("CalculationError" in line for line in ends[model].lastLogLines)
        assert not any(broker.password in line for line in ends[model].lastLogLines)
        assert ends[model].attempt == 1
        assert ends[model].startedAt.seconds <= ends[model].finishedAt.seconds
    assert not mso.events("model.state_changed", model="fake_model_1", now="running")
    assert mso.events("model.state_changed", model="fake_model_2", now="running")
    assert broker.password not in mso.log()


def test_models_ready_comes_once_and_before_any_end(
    cluster: Cluster, broker: Mosquitto, mso: MsoProcess, peer: Peer
) -> None:
    """Two models announce themselves, work until they hear that the simulation is done, and end well."""
    models = ("a", "b")
    peer.deploy(
        "sim", order(*(fake_model(cluster, broker, "sim", model, RUN_SECONDS="until-done") for model in models))
    )
    peer.wait_for("sim", "ModelsReady")
    for model in models:
        peer.publish(f"/lifecycle/fake-so/model/sim/{model}/SimulationDone")
    heard = peer.wait_for_end("sim")
    assert heard[0].name == "ModelsReady"
    assert {model: end.SerializeToString() for model, end in told(heard).items()} == {"a": b"", "b": b""}


def test_an_old_orchestrator_hears_of_the_first_failure_in_the_message_that_it_obeys(
    place: Place, start_mso: StartMso, peer: Peer
) -> None:
    """MSO_SEND_ERROR_OCCURRED: one ErrorOccurred a run, about a model that failed, with reason and exit code."""
    start_mso(place, MSO_SEND_ERROR_OCCURRED="true")
    peer.deploy("sim", order(configuration("a", "ends", CODE="3"), configuration("b", "ends", CODE="3")))
    heard = peer.wait_for_end("sim")
    complaints = [message for message in heard if message.name == "ErrorOccurred"]
    (complaint,) = complaints
    model = complaint.topic.split("/")[5]
    assert complaint.topic == f"/lifecycle/mso/test-so/sim/{model}/ErrorOccurred"
    assert ErrorOccurred.FromString(complaint.payload).error_message.startswith(
        f"model {model} failed: Error, exit code 3"
    )
    assert {model: end.exitCode for model, end in told(heard).items()} == {"a": 3, "b": 3}
