"""Whole simulations of real models in real containers, and what their orchestrator hears of them."""

from mso.protocol.messages.lifecycle_pb2 import ModelConfiguration
from tests.docker.conftest import StartMso
from tests.docker_engine import containers, docker, fake_model_image, gateway, volumes
from tests.mosquitto import Mosquitto
from tests.peer import Peer, configuration, order
from tests.service import MsoProcess, wait_until
from tests.told import told


def fake_model(broker: Mosquitto, model: str, **environment: str) -> ModelConfiguration:
    """As a simulation orchestrator in the field asks for one."""
    return configuration(
        model,
        fake_model_image(),
        SIMULATION_ID="sim",
        MODEL_ID=model,
        MQTT_HOST=gateway(),
        MQTT_PORT=str(broker.port),
        MQTT_USERNAME=broker.username,
        MQTT_PASSWORD=broker.password,
        **environment,
    )


def of(project: str) -> dict[str, dict[str, object]]:
    """The containers of a project, by model."""
    return {one["Config"]["Labels"]["model_id"]: one for one in containers(f"mso/project={project}")}


def test_the_models_of_the_quickstart_end_as_they_are_told_to(
    broker: Mosquitto, mso: MsoProcess, peer: Peer, project: str
) -> None:
    """Two end well, one crashes before it is ready and one after: each is told once, with its last lines."""
    behaviour = [
        {"RUN_SECONDS": "2"},
        {"RUN_SECONDS": "0", "READY": "no", "EXIT_CODE": "1"},
        {"RUN_SECONDS": "1", "EXIT_CODE": "2"},
        {"RUN_SECONDS": "2"},
    ]
    models = [fake_model(broker, f"fake_model_{number}", **how) for number, how in enumerate(behaviour)]
    peer.deploy("sim", order(*models, version=2))
    ends = told(peer.wait_for_end("sim"))
    assert {model: (end.reason, end.exitCode) for model, end in ends.items()} == {
        "fake_model_0": ("Completed", 0),
        "fake_model_1": ("Error", 1),
        "fake_model_2": ("Error", 2),
        "fake_model_3": ("Completed", 0),
    }
    for model in ("fake_model_1", "fake_model_2"):
        assert any("CalculationError" in line for line in ends[model].lastLogLines)
        assert not any(broker.password in line for line in ends[model].lastLogLines)
        assert ends[model].startedAt.seconds <= ends[model].finishedAt.seconds
    assert broker.password not in mso.log()
    mso.wait_for_event("model.removed", 4)
    assert of(project) == {}
    assert volumes(f"mso/project={project}") == []


def test_a_kill_in_the_middle_changes_nothing(broker: Mosquitto, mso: MsoProcess, peer: Peer, project: str) -> None:
    """The same containers go on, one ends meanwhile, one is deleted; ModelsReady came once, and each end is true."""
    models = ("ends", "deleted", "goes-on")
    how = {"ends": {"RUN_SECONDS": "until-done", "EXIT_CODE": "7"}}
    peer.deploy(
        "sim",
        order(
            *(fake_model(broker, model, **{"RUN_SECONDS": "until-done", **how.get(model, {})}) for model in models),
            version=2,
            keep_logs_hours=1,
        ),
    )
    peer.wait_for("sim", "ModelsReady")
    before = {model: one["Id"] for model, one in of(project).items()}
    mso.kill()
    docker("rm", "--force", str(before["deleted"]))
    peer.publish("/lifecycle/fake-so/model/sim/ends/SimulationDone")
    docker("wait", str(before["ends"]))
    mso.start()
    assert mso.wait_for_event("simulation.restored")[0]["living"] == 3
    peer.wait_for("sim", "ModelHasTerminated", 2)
    peer.publish("/lifecycle/fake-so/model/sim/goes-on/SimulationDone")
    heard = peer.wait_for_end("sim")
    assert {model: (end.reason, end.exitCode) for model, end in told(heard).items()} == {
        "ends": ("Error", 7),
        "deleted": ("PodDeleted", -1),
        "goes-on": ("Completed", 0),
    }
    assert [message.name for message in heard].count("ModelsReady") == 1
    assert {model: one["Id"] for model, one in of(project).items()} == {
        model: before[model] for model in ("ends", "goes-on")
    }


def test_without_its_ledger_it_follows_what_runs(
    broker: Mosquitto, start_mso: StartMso, peer: Peer, project: str
) -> None:
    """Another state directory, the same engine: adopted with the mark that it was ready, and told to its end."""
    first = start_mso()
    peer.deploy("sim", order(fake_model(broker, "a", RUN_SECONDS="until-done"), version=2))
    peer.wait_for("sim", "ModelsReady")
    first.kill()
    second = start_mso()
    assert second.wait_for_event("simulation.adopted")[0]["marks"] == ["ready"]
    peer.publish("/lifecycle/fake-so/model/sim/a/SimulationDone")
    heard = peer.wait_for_end("sim")
    assert told(heard)["a"].exitCode == 0
    assert [message.name for message in heard].count("ModelsReady") == 1


def test_a_simulation_that_is_stopped_ends(broker: Mosquitto, mso: MsoProcess, peer: Peer, project: str) -> None:
    """What does not hear SimulationDone is stopped after the grace, and its log is kept as long as was asked."""
    peer.deploy("sim", order(fake_model(broker, "a", RUN_SECONDS="600"), version=2, keep_logs_hours=1))
    peer.wait_for("sim", "ModelsReady")
    peer.done("sim")
    ends = told(peer.wait_for_end("sim"))
    assert ends["a"].reason == "Stopped"
    (kept,) = of(project).values()
    assert kept["State"]["Status"] == "exited"  # type: ignore[index]
    listed = mso.command("cleanup", "--simulation", "sim")
    assert listed.returncode == 0, listed.stdout
    wait_until(lambda: of(project) == {})
    assert volumes(f"mso/project={project}") == []
