"""What the fake simulator sends and reads, against the protocol."""

from dataclasses import replace

import pytest
from fake_simulator.scenario import FailurePolicy, ScenarioModel, State, succeeding
from fake_simulator.wire import Announced, Answer, Credentials, MsoStatus, Received, Termination, decode, deploy_models
from google.protobuf.timestamp_pb2 import Timestamp

from mso.protocol.messages import healthcheck_pb2, lifecycle_pb2

CREDENTIALS = Credentials("broker", 1883, "energy", "hush")
ENDED = "/lifecycle/mso/fake-so/sim/m/ModelHasTerminated"


def test_deploy_models() -> None:
    """Each model is told who it is, for whom it works and where its broker is; its own environment is stronger."""
    model = ScenarioModel("m", environment=(("RUN_SECONDS", "3"), ("MQTT_HOST", "elsewhere")))
    scenario = replace(succeeding(1), models=(replace(model, retries=2),), failure_policy=FailurePolicy.STOP_ALL)
    request = lifecycle_pb2.DeployModels.FromString(deploy_models(scenario, "fake-so", CREDENTIALS))
    assert request.protocolVersion == 2
    assert request.failurePolicy == lifecycle_pb2.STOP_ALL
    (configuration,) = request.modelConfigurations
    assert (configuration.modelID, configuration.imageUrl, configuration.retries) == ("m", "fake_model:0.0.1", 2)
    assert {variable.name: variable.value for variable in configuration.environmentVariables} == {
        "SIMULATION_ID": "sim02-abc",
        "MODEL_ID": "m",
        "MQTT_HOST": "elsewhere",
        "MQTT_PORT": "1883",
        "MQTT_USERNAME": "energy",
        "MQTT_PASSWORD": "hush",
        "SIMULATOR_NAME": "fake-so",
        "RUN_SECONDS": "3",
    }


def test_models_hear_of_tls() -> None:
    """A model is told the authority of its broker where there is one."""
    request = lifecycle_pb2.DeployModels.FromString(
        deploy_models(succeeding(1), "fake-so", replace(CREDENTIALS, tls_ca_file="/etc/ca.pem"))
    )
    variables = {variable.name: variable.value for variable in request.modelConfigurations[0].environmentVariables}
    assert variables["MQTT_TLS_CA_FILE"] == "/etc/ca.pem"


def test_deploy_models_of_version_1() -> None:
    """In version 1 nothing is on the wire that version 1 does not have."""
    scenario = replace(succeeding(1), protocol_version=1, keep_logs_hours=1)
    request = lifecycle_pb2.DeployModels.FromString(deploy_models(scenario, "fake-so", CREDENTIALS))
    assert {field.number for field, _ in request.ListFields()} == {1, 2, 3}
    assert {field.number for field, _ in request.modelConfigurations[0].ListFields()} == {1, 2, 3}


def test_a_password_is_not_shown() -> None:
    """Neither credentials nor a model show what is secret in their repr."""
    assert "hush" not in repr(CREDENTIALS) + repr(ScenarioModel("m", environment=(("A", "hush"),)))


def test_empty_messages() -> None:
    """No bytes are a message: also a ModelHasTerminated, of a model that succeeded."""
    assert decode("/lifecycle/mso/fake-so/sim/ModelsReady", b"", after=1.5) == Received("ModelsReady", after=1.5)
    assert decode(ENDED, b"") == Received("ModelHasTerminated", "m", Termination(State.SUCCEEDED, 0))


def test_termination() -> None:
    """A ModelHasTerminated of version 2 is read whole, and known to be one."""
    message = lifecycle_pb2.ModelHasTerminated(
        status=lifecycle_pb2.FAILED,
        exitCode=2,
        reason="Error",
        message="exit code 2",
        lastLogLines=["one", "two"],
        finishedAt=Timestamp(seconds=0),
        attempt=1,
    )
    assert decode(ENDED, message.SerializeToString()) == Received(
        "ModelHasTerminated",
        "m",
        Termination(
            state=State.FAILED,
            exit_code=2,
            reason="Error",
            message="exit code 2",
            last_log_lines=("one", "two"),
            finished_at="1970-01-01T00:00:00Z",
            attempt=1,
            version_2_fields=("reason", "message", "lastLogLines", "finishedAt", "attempt"),
        ),
    )


def test_words() -> None:
    """What a rejection, an error or a complaint about health says in words is kept."""
    rejected = lifecycle_pb2.DeployModelsRejected(reason="bad", errors=["no models"]).SerializeToString()
    error = lifecycle_pb2.ErrorOccurred(error_message="oops").SerializeToString()
    unhealthy = lifecycle_pb2.UnhealthyModel(reasons=["slow"]).SerializeToString()
    prefix = "/lifecycle/mso/fake-so/sim"
    assert decode(f"{prefix}/DeployModelsRejected", rejected) == Received("DeployModelsRejected", text="bad; no models")
    assert decode(f"{prefix}/m/ErrorOccurred", error) == Received("ErrorOccurred", "m", text="oops")
    assert decode(f"{prefix}/m/UnhealthyModel", unhealthy) == Received("UnhealthyModel", "m", text="NOPROGRESS; slow")


def test_from_models_and_about_mso() -> None:
    """What models say, to this orchestrator or to MSO, and whether MSO is there, is told from what MSO reports."""
    assert decode("/lifecycle/model/mso/sim/m/ReadyForProcessing", b"") == Announced("m")
    assert decode("/lifecycle/model/fake-so/sim/m/CalculationsDone", b"") == Answer("m", "CalculationsDone")
    status = healthcheck_pb2.MsoStatus(online=True).SerializeToString()
    assert decode("/healthcheck/mso/fake-so/Status", status, retained=True) == MsoStatus(online=True)


@pytest.mark.parametrize(
    ("topic", "payload", "problem"),
    (
        (ENDED, b"\xff\xff", "cannot be read"),
        (ENDED, b"\x08\x07", "cannot be read: status 7 is unknown"),
        ("/lifecycle/mso/fake-so/sim/ModelsReady", b"x", "cannot be read: 1 bytes, and it has no fields"),
        ("/lifecycle/mso/fake-so/sim/Surprise", b"", "cannot be read: /lifecycle/mso/fake-so/sim/Surprise is no topic"),
        ("/lifecycle/mso/fake-so/sim/m/ModelsReady", b"", "cannot be read: "),
        ("/healthcheck/mso/fake-so/Status", b"\xff", "cannot be read"),
    ),
)
def test_what_cannot_be_read(topic: str, payload: bytes, problem: str) -> None:
    """A message that cannot be read raises nothing: it is a finding for the judge, under its own name."""
    heard = decode(topic, payload)
    assert isinstance(heard, Received)
    assert heard.name == topic.rpartition("/")[2]
    assert heard.problem.startswith(problem)
