"""Version 1 is frozen, byte for byte: the wire as it was worked out by hand, and a peer that knows nothing newer."""

from typing import Any

import pytest

from mso.model import Capabilities, EnvironmentVariable, ModelSpec, Reason, SimulationId, SimulatorName, State
from mso.protocol import lifecycle
from mso.protocol.messages import healthcheck_pb2, lifecycle_pb2
from mso.protocol.topics import DeployModels
from tests.builders import NOW, model, request
from tests.protocol.decoding import decode_deploy_models
from tests.protocol.old_peer import ENUMS, HEALTHCHECK, LIFECYCLE, message_class

ADDRESS = DeployModels(SimulatorName("essim"), SimulationId("sim-1"))
EVERYTHING = Capabilities(command=True, resources=True, secrets=True)

# DeployModels: simulatorId "so"; one model "m" of image "i:1" with A=1; logs kept for 1.5 hours
DEPLOY_MODELS = "0a02736f12100a016d1203693a311a060a014112013119000000000000f83f"
MINUS_ONE = "ffffffffffffffffff01"

WIRE: list[tuple[str, dict[str, Any], str]] = [
    ("EnvironmentVariable", {}, ""),
    ("EnvironmentVariable", {"name": "A", "value": "é"}, "0a01411202c3a9"),
    (
        "ModelConfiguration",
        {"modelID": "m", "imageUrl": "i:1", "environmentVariables": [{"name": "A", "value": "1"}, {"name": "B"}]},
        "0a016d1203693a311a060a01411201311a030a0142",
    ),
    (
        "DeployModels",
        {
            "simulatorId": "so",
            "modelConfigurations": [
                {"modelID": "m", "imageUrl": "i:1", "environmentVariables": [{"name": "A", "value": "1"}]}
            ],
            "keepLogsHours": 1.5,
        },
        DEPLOY_MODELS,
    ),
    ("DeployModels", {"keepLogsHours": -1.0}, "19000000000000f0bf"),
    ("ReadyForProcessing", {}, ""),
    ("ModelsReady", {}, ""),
    ("CalculationsDone", {}, ""),
    ("SimulationDone", {}, ""),
    ("AllModelsHaveTerminated", {}, ""),
    ("Parametrized", {}, ""),
    ("Parameterized", {}, ""),
    ("ModelParameters", {"parameters_dict": "{}"}, "0a027b7d"),
    ("NewStep", {"parameters_dict": "{}"}, "0a027b7d"),
    ("ErrorOccurred", {"error_message": "no"}, "0a026e6f"),
    ("UnhealthyModel", {"status": 0}, ""),
    ("ModelHasTerminated", {"status": 0, "exitCode": 0}, ""),
    ("ModelHasTerminated", {"status": 1, "exitCode": 137}, "0801108901"),
    ("ModelHasTerminated", {"status": 1, "exitCode": -1}, "080110" + MINUS_ONE),
    (
        "PingHealthSOToMSO",
        {"healthy": 1, "reasons": ["a", "bc"], "activeSimulations": ["sim"]},
        "0801120161120262631a0373696d",
    ),
    ("PingHealthSOToMSO", {"healthy": 0}, ""),
    ("PongHealthMSOToSO", {"healthy": 1, "reasons": ["a"]}, "0801120161"),
    ("PingHealthMSOToModel", {"healthy": 1, "reasons": ["a"]}, "0801120161"),
    (
        "PongHealthModelToMSO",
        {"healthy": 1, "reasons": ["a"], "numberOfBids": 300, "numberOfAllocations": -1},
        "080112016118ac0220" + MINUS_ONE,
    ),
]


def present_class(name: str) -> Any:
    return getattr(lifecycle_pb2 if name in LIFECYCLE else healthcheck_pb2, name)


@pytest.mark.parametrize(("name", "values", "wire"), WIRE)
def test_the_bytes_of_version_1(name: str, values: dict[str, Any], wire: str) -> None:
    """Each message of version 1 is these bytes and no others, to write and to read, then and now."""
    for peer in (present_class(name), message_class(name)):
        assert peer(**values).SerializeToString().hex() == wire
        assert peer.FromString(bytes.fromhex(wire)) == peer(**values)


def test_every_message_of_version_1_is_in_the_table() -> None:
    """None of them is without its bytes."""
    assert {name for name, _, _ in WIRE} == LIFECYCLE.keys() | HEALTHCHECK.keys()


@pytest.mark.parametrize("name", (*LIFECYCLE, *HEALTHCHECK))
def test_what_version_1_named_keeps_its_name_and_number(name: str) -> None:
    """Version 2 only adds: no field of version 1 moves, changes its type, or loses a spelling mistake."""
    now = present_class(name).DESCRIPTOR.fields_by_number
    for number, then in message_class(name).DESCRIPTOR.fields_by_number.items():
        field = now[number]
        assert (field.name, field.type, field.is_repeated) == (then.name, then.type, then.is_repeated)


@pytest.mark.parametrize("name", ENUMS)
def test_what_version_1_counted_keeps_its_number(name: str) -> None:
    """The values of an enumeration stay what they were, SUCCESSFULL included."""
    module = healthcheck_pb2 if name == "HealthStatus" else lifecycle_pb2
    now = {value.name: value.number for value in module.DESCRIPTOR.enum_types_by_name[name].values}
    assert {value: now.get(value) for value in ENUMS[name]} == {value: n for n, value in enumerate(ENUMS[name])}


def test_the_java_of_deployed_peers_still_finds_its_classes() -> None:
    """Package and outer class names are part of version 1, and there is no protobuf package."""
    for module, outer in ((lifecycle_pb2, "Lifecycle"), (healthcheck_pb2, "Healthcheck")):
        assert module.DESCRIPTOR.package == ""
        options = module.DESCRIPTOR.GetOptions()
        assert (options.java_package, options.java_outer_classname, options.java_multiple_files) == (
            "nl.tno.simulation.externalmodel.protos",
            outer,
            True,
        )


# -- what MSO makes of it ---------------------------------------------------------------------------------------------


def test_mso_reads_what_an_old_peer_asks_for() -> None:
    """A DeployModels of version 1 is taken whole, with nothing to remark."""
    decoded = decode_deploy_models(
        ADDRESS, bytes.fromhex(DEPLOY_MODELS), redelivered=False, capabilities=Capabilities()
    )
    assert decoded.warnings == ()
    asked = decoded.order.request
    assert (asked.protocol_version, asked.simulator_id, asked.keep_logs.total_seconds()) == (1, "so", 5400)
    (spec,) = decoded.order.models
    assert spec == ModelSpec(spec.model, "i:1", (EnvironmentVariable("A", "1"),))
    assert spec.model == "m"


FAILED = model(
    state=State.FAILED,
    exit_code=137,
    reason=Reason.OOM_KILLED,
    message="too big",
    started_at=NOW,
    finished_at=NOW,
    attempt=2,
)
SUCCEEDED = model(state=State.SUCCEEDED, exit_code=0, reason=Reason.COMPLETED, started_at=NOW, finished_at=NOW)


@pytest.mark.parametrize(
    ("fate", "wire"),
    (
        (FAILED, "0801108901"),
        (SUCCEEDED, ""),
        (model(state=State.FAILED, exit_code=-1, reason=Reason.DEPLOY_FAILED, message="x"), "080110" + MINUS_ONE),
        (model(state=State.FAILED), "080110" + MINUS_ONE),
        (model(state=State.FAILED, exit_code=2**40), "080110ffffffff07"),
        (model(state=State.FAILED, exit_code=-(2**40)), "08011080808080f8ffffffff01"),
    ),
)
def test_a_version_1_request_is_answered_in_version_1(fate: Any, wire: str) -> None:
    """Whatever is known of the end, who asked in version 1 gets its exact bytes."""
    assert lifecycle.model_has_terminated(fate, ["a line"]).hex() == wire


def test_the_empty_messages_are_zero_bytes() -> None:
    """ModelsReady and AllModelsHaveTerminated have no content, and no bytes."""
    assert lifecycle.models_ready() == b"" == lifecycle.all_models_have_terminated()


@pytest.mark.parametrize("payload", (b"", bytes.fromhex("9a0602686a"), bytes.fromhex("08ffffffff0f")))
def test_a_message_without_content_may_have_grown(payload: bytes) -> None:
    """Zero bytes are a valid ReadyForProcessing and SimulationDone, and so is what a newer peer adds."""
    lifecycle.check_ready_for_processing(payload)
    lifecycle.check_simulation_done(payload)


@pytest.mark.parametrize("payload", (b"\xff", b"\x0a\x05ab", b"\x0c", b"{}x", b"\x00"))
def test_bytes_that_are_no_protobuf_are_undecodable(payload: bytes) -> None:
    """Anything else is no message."""
    with pytest.raises(lifecycle.Undecodable):
        lifecycle.check_ready_for_processing(payload)
    with pytest.raises(lifecycle.Undecodable):
        lifecycle.check_simulation_done(payload)
    with pytest.raises(lifecycle.Undecodable):
        decode_deploy_models(ADDRESS, payload, redelivered=False, capabilities=EVERYTHING)


@pytest.mark.parametrize("fate", (FAILED, SUCCEEDED))
def test_an_old_peer_reads_what_version_2_says(fate: Any) -> None:
    """A ModelHasTerminated of version 2 means to a version-1 peer what one of version 1 would, and can be passed on."""
    asked = request(protocol_version=2)
    newer = lifecycle.model_has_terminated(replace_request(fate, asked), ["last", "words"])
    older = lifecycle.model_has_terminated(fate)
    assert len(newer) > len(older)
    heard = message_class("ModelHasTerminated").FromString(newer)
    expected = message_class("ModelHasTerminated").FromString(older)
    assert (heard.status, heard.exitCode) == (expected.status, expected.exitCode)
    passed_on = lifecycle_pb2.ModelHasTerminated.FromString(heard.SerializeToString())
    assert passed_on == lifecycle_pb2.ModelHasTerminated.FromString(newer)


def replace_request(fate: Any, asked: Any) -> Any:
    return model(**{name: getattr(fate, name) for name in ("state", "exit_code", "reason", "message")}, request=asked)


@pytest.mark.parametrize(
    "payload",
    (
        lifecycle.mso_status(online=True, software_version="1"),
        lifecycle.mso_status(online=False, software_version="1"),
    ),
)
def test_the_presence_is_never_empty(payload: bytes) -> None:
    """A retained message of zero bytes would clear the topic."""
    assert payload


def test_unknown_fields_do_no_harm() -> None:
    """What a newer peer adds at any depth is skipped: the models are the same."""
    added = bytes.fromhex("9a0602686aa00601")  # field 99 with text, field 100 with a number
    configuration = bytes.fromhex("0a016d1203693a31") + added
    payload = bytes.fromhex("0a02736f12") + bytes([len(configuration)]) + configuration + added
    decoded = decode_deploy_models(ADDRESS, payload, redelivered=False, capabilities=EVERYTHING)
    assert [(spec.model, spec.image) for spec in decoded.order.models] == [("m", "i:1")]
    assert decoded.warnings == ()
