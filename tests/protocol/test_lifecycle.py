"""Lifecycle messages: what is taken of a DeployModels, and what is refused by name."""

import math
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mso.inventory import Rejected
from mso.model import (
    Capabilities,
    EnvironmentVariable,
    FailurePolicy,
    ModelId,
    ModelSpec,
    Resources,
    SimulationId,
    SimulatorName,
)
from mso.protocol import MAX_VERSION, lifecycle
from mso.protocol.lifecycle import SLICE, Decoded, Undecodable, decoding
from mso.protocol.messages import lifecycle_pb2
from mso.protocol.topics import DeployModels
from tests.protocol.decoding import decode_deploy_models

ADDRESS = DeployModels(SimulatorName("essim"), SimulationId("sim-1"))
EVERYTHING = Capabilities(command=True, resources=True, secrets=True)
CANARY = "canary-7f3a"


def asked(*models: lifecycle_pb2.ModelConfiguration, version: int = 2) -> lifecycle_pb2.DeployModels:
    if not models:
        models = (lifecycle_pb2.ModelConfiguration(modelID="m", imageUrl="i:1"),)
    return lifecycle_pb2.DeployModels(simulatorId="so", modelConfigurations=models, protocolVersion=version)


def decode(
    message: lifecycle_pb2.DeployModels,
    capabilities: Capabilities = EVERYTHING,
    address: DeployModels = ADDRESS,
) -> Decoded:
    return decode_deploy_models(address, message.SerializeToString(), redelivered=False, capabilities=capabilities)


def errors(message: lifecycle_pb2.DeployModels, capabilities: Capabilities = EVERYTHING) -> tuple[str, ...]:
    """Why it is rejected."""
    with pytest.raises(Rejected) as rejected:
        decode(message, capabilities)
    return rejected.value.errors


# -- versions ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("said", "meant"), ((0, 1), (1, 1), (2, 2)))
def test_a_peer_that_sends_no_version_is_version_1(said: int, meant: int) -> None:
    """Every version from 1 up is served; absent means 1."""
    assert decode(asked(version=said)).order.request.protocol_version == meant


@pytest.mark.parametrize("version", (MAX_VERSION + 1, 2**32 - 1))
def test_a_newer_protocol_is_refused(version: int) -> None:
    """What MSO does not know it does not half understand."""
    (error,) = errors(asked(version=version))
    assert str(version) in error


def test_a_version_1_peer_gets_version_1() -> None:
    """A field of version 2 without its version does nothing, and a warning names it."""
    message = asked(
        lifecycle_pb2.ModelConfiguration(
            modelID="m",
            imageUrl="i:1",
            retries=3,
            healthCheck=True,
            command=["rm"],
            environmentVariables=[lifecycle_pb2.EnvironmentVariable(name="A", value="1", secretName="s")],
        ),
        version=0,
    )
    message.failurePolicy = lifecycle_pb2.STOP_ALL
    message.moreToCome = True
    message.requestId = "r-1"
    decoded = decode(message)
    assert decoded.order.models == (ModelSpec(ModelId("m"), "i:1", (EnvironmentVariable("A", "1"),)),)
    order = decoded.order.request
    assert (order.failure_policy, order.more_to_come, order.request_id) == (FailurePolicy.KEEP_OTHERS, False, "")
    assert {name for name in NEW_FIELDS if any(f"{name} is ignored" in warning for warning in decoded.warnings)} == {
        "retries",
        "healthCheck",
        "command",
        "secretName",
        "failurePolicy",
        "moreToCome",
        "requestId",
    }


# -- each field of version 2 works, or is refused by name -------------------------------------------------------------

Configuration = lifecycle_pb2.ModelConfiguration
Works = tuple[Callable[[lifecycle_pb2.DeployModels], object], Callable[[Decoded], object], object]


def set_model(name: str, value: object) -> Callable[[lifecycle_pb2.DeployModels], object]:
    def change(message: lifecycle_pb2.DeployModels) -> None:
        configuration = message.modelConfigurations[0]
        if isinstance(value, list):
            getattr(configuration, name).extend(value)
        else:
            setattr(configuration, name, value)

    return change


def set_request(name: str, value: object) -> Callable[[lifecycle_pb2.DeployModels], object]:
    return lambda message: setattr(message, name, value)


def set_secret(message: lifecycle_pb2.DeployModels) -> None:
    message.modelConfigurations[0].environmentVariables.add(name="A", secretName="s", secretKey="k")


def set_resources(message: lifecycle_pb2.DeployModels) -> None:
    message.modelConfigurations[0].resources.MergeFrom(
        lifecycle_pb2.Resources(cpuRequest="1", memoryRequest="1Gi", cpuLimit="2", memoryLimit="2Gi", gpus=1)
    )


def first(decoded: Decoded) -> ModelSpec:
    return decoded.order.models[0]


WORKS: dict[str, Works] = {
    "protocolVersion": (lambda message: None, lambda it: it.order.request.protocol_version, 2),
    "failurePolicy": (
        set_request("failurePolicy", 1),
        lambda it: it.order.request.failure_policy,
        FailurePolicy.STOP_ALL,
    ),
    "moreToCome": (set_request("moreToCome", True), lambda it: it.order.request.more_to_come, True),
    "requestId": (set_request("requestId", "r-1"), lambda it: it.order.request.request_id, "r-1"),
    "modelType": (set_model("modelType", "pv"), lambda it: first(it).type, "pv"),
    "modelVersion": (set_model("modelVersion", "3"), lambda it: first(it).version, "3"),
    "resources": (set_resources, lambda it: first(it).resources, Resources("1", "1Gi", "2", "2Gi", 1)),
    "readyTimeoutSeconds": (
        set_model("readyTimeoutSeconds", 1.5),
        lambda it: first(it).ready_timeout,
        timedelta(seconds=1.5),
    ),
    "maxRuntimeSeconds": (set_model("maxRuntimeSeconds", 60.0), lambda it: first(it).max_runtime, timedelta(minutes=1)),
    "retries": (set_model("retries", 3), lambda it: first(it).retries, 3),
    "command": (set_model("command", ["a", ""]), lambda it: first(it).command, ("a", "")),
    "args": (set_model("args", ["-x"]), lambda it: first(it).args, ("-x",)),
    "secretName": (set_secret, lambda it: first(it).environment, (EnvironmentVariable("A", "", "s", "k"),)),
    "secretKey": (set_secret, lambda it: first(it).environment, (EnvironmentVariable("A", "", "s", "k"),)),
}
REFUSED: dict[str, tuple[Callable[[lifecycle_pb2.DeployModels], object], Capabilities]] = {
    "healthCheck": (set_model("healthCheck", True), EVERYTHING),
    "command": (set_model("command", ["a"]), replace(EVERYTHING, command=False)),
    "args": (set_model("args", ["a"]), replace(EVERYTHING, command=False)),
    "secretName": (set_secret, replace(EVERYTHING, secrets=False)),
}
NEW_FIELDS = {
    field.name
    for descriptor, first_new in (
        (lifecycle_pb2.DeployModels.DESCRIPTOR, 4),
        (lifecycle_pb2.ModelConfiguration.DESCRIPTOR, 4),
        (lifecycle_pb2.EnvironmentVariable.DESCRIPTOR, 3),
    )
    for field in descriptor.fields
    if field.number >= first_new
}


def test_every_field_of_version_2_is_spoken_for() -> None:
    """No field of a request is neither honoured nor refused."""
    assert WORKS.keys() | REFUSED.keys() == NEW_FIELDS


@pytest.mark.parametrize("name", WORKS)
def test_a_field_of_version_2_works(name: str) -> None:
    """Where the backplane has the function, what was asked for is what is ordered."""
    change, look, expected = WORKS[name]
    message = asked()
    change(message)
    decoded = decode(message)
    assert look(decoded) == expected
    assert decoded.warnings == ()


@pytest.mark.parametrize("name", REFUSED)
def test_a_field_whose_function_is_lacking_is_refused_by_name(name: str) -> None:
    """The errors say which model wants what is not there."""
    change, capabilities = REFUSED[name]
    message = asked()
    change(message)
    (error,) = errors(message, capabilities)
    assert name in error
    assert "'m'" in error


def test_a_model_type_without_an_image_is_refused() -> None:
    """There is no model registry yet that could look the image up."""
    (error,) = errors(asked(Configuration(modelID="m", modelType="pv")))
    assert "modelType" in error


def test_resources_on_a_backplane_without_limits_are_let_pass() -> None:
    """They are the one wish that is not refused where it cannot be granted: it costs a warning."""
    message = asked()
    set_resources(message)
    decoded = decode(message, replace(EVERYTHING, resources=False))
    assert ["resources" in warning for warning in decoded.warnings] == [True]


def test_an_unknown_failure_policy_is_refused() -> None:
    """An enumeration is open in proto3: a number that has no meaning is not taken for another."""
    message = asked()
    message.failurePolicy = 7  # type: ignore[assignment]
    (error,) = errors(message)
    assert "failurePolicy" in error
    assert "7" in error


# -- hostile numbers --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hours", "kept", "warned"),
    (
        (-1.0, timedelta(0), True),
        (-0.0, timedelta(0), False),
        (0.0, timedelta(0), False),
        (1e-9, timedelta(microseconds=4), False),
        (1.5, timedelta(minutes=90), False),
        (366 * 24.0, timedelta(days=366), False),
        (1e9, timedelta(days=366), True),
        (1e16, timedelta(days=366), True),
        (1.7e308, timedelta(days=366), True),
        (math.inf, timedelta(days=366), True),
        (-math.inf, timedelta(0), True),
        (math.nan, timedelta(0), True),
    ),
)
@pytest.mark.parametrize("version", (1, 2))
def test_keep_logs_hours_is_brought_into_bounds(version: int, hours: float, kept: timedelta, warned: bool) -> None:
    """No number of hours stops a simulation from being run: it costs a warning at most."""
    message = asked(version=version)
    message.keepLogsHours = hours
    decoded = decode(message)
    assert decoded.order.request.keep_logs == kept
    assert [("keepLogsHours" in warning) for warning in decoded.warnings] == [True] * warned


@pytest.mark.parametrize("name", ("readyTimeoutSeconds", "maxRuntimeSeconds"))
@pytest.mark.parametrize(
    ("seconds", "span"),
    (
        (0.0, None),
        (-0.0, None),
        (1e-9, timedelta(microseconds=1)),
        (0.5, timedelta(seconds=0.5)),
        (366 * 86400.0, timedelta(days=366)),
    ),
)
def test_a_time_limit_is_taken_as_it_is(name: str, seconds: float, span: timedelta | None) -> None:
    """0 means no limit; a limit that is shorter than any clock can tell is short, and not none."""
    message = asked()
    setattr(message.modelConfigurations[0], name, seconds)
    spec = first(decode(message))
    assert (spec.ready_timeout if name == "readyTimeoutSeconds" else spec.max_runtime) == span


@pytest.mark.parametrize("name", ("readyTimeoutSeconds", "maxRuntimeSeconds"))
@pytest.mark.parametrize("seconds", (-1.0, -1e-9, 1e9, 1e16, math.inf, -math.inf, math.nan))
def test_a_time_limit_that_is_none_is_refused_by_name(name: str, seconds: float) -> None:
    """A peer that speaks version 2 hears of what cannot be honoured."""
    message = asked()
    setattr(message.modelConfigurations[0], name, seconds)
    (error,) = errors(message)
    assert name in error


@pytest.mark.parametrize(("retries", "taken"), ((100, True), (101, False), (4_000_000_000, False)))
def test_retries_have_a_bound(retries: int, taken: bool) -> None:
    """Nobody waits for four thousand million attempts."""
    message = asked(Configuration(modelID="m", imageUrl="i:1", retries=retries))
    if taken:
        assert first(decode(message)).retries == retries
    else:
        (error,) = errors(message)
        assert "retries" in error


# -- bad requests -----------------------------------------------------------------------------------------------------


def test_no_models_is_no_request() -> None:
    """Nothing to deploy is an error, and not an empty run."""
    assert errors(lifecycle_pb2.DeployModels()) == ("modelConfigurations: no models",)


def test_ids_are_unique_and_legal() -> None:
    """Every id that is empty, there twice or no level of a topic is named, with its place."""
    names = ("a", "", "b", "a", "x/y", "x" * 257, "b\n")
    found = errors(asked(*(Configuration(modelID=name, imageUrl="i") for name in names)))
    assert [error.split(".")[0] for error in found] == [f"modelConfigurations[{index}]" for index in (1, 3, 4, 5, 6)]
    assert all(len(error) < 300 for error in found)


def test_the_id_of_the_simulation_has_a_bound_too() -> None:
    """No backplane can keep what is endless."""
    with pytest.raises(Rejected):
        decode(asked(), address=replace(ADDRESS, simulation=SimulationId("x" * 257)))
    longest = replace(ADDRESS, simulation=SimulationId("x" * 256))
    assert decode(asked(), address=longest).order.request.simulation == longest.simulation


def test_all_that_is_wrong_is_said_at_once() -> None:
    """Whoever mends a request mends it once."""
    message = asked(
        Configuration(modelID="a", imageUrl="i", retries=1000, healthCheck=True),
        Configuration(modelID="", imageUrl="i", maxRuntimeSeconds=-1),
    )
    message.failurePolicy = 9  # type: ignore[assignment]
    assert len(errors(message)) == 5


def test_of_two_variables_of_one_name_the_last_one_counts() -> None:
    """As a shell would have it, with a warning that names it and shows no value."""
    configuration = Configuration(modelID="m", imageUrl="i:1")
    for value in (CANARY, "last"):
        configuration.environmentVariables.add(name="A", value=value)
    decoded = decode(asked(configuration))
    assert first(decoded).environment == (EnvironmentVariable("A", "last"),)
    (warning,) = decoded.warnings
    assert "'A'" in warning
    assert CANARY not in warning


def test_no_error_shows_a_value() -> None:
    """Values of variables may be passwords, also where everything about a request is wrong."""
    configuration = Configuration(modelID="", imageUrl="i", healthCheck=True, command=[CANARY], args=[CANARY])
    for name in ("A", "A", "B"):
        configuration.environmentVariables.add(name=name, value=CANARY, secretName="s")
    message = asked(configuration, configuration)
    message.keepLogsHours = math.nan
    with pytest.raises(Rejected) as rejected:
        decode(message, Capabilities())
    assert CANARY not in repr(rejected.value.errors)
    assert CANARY.encode() not in lifecycle.deploy_models_rejected(rejected.value)


def test_the_digest_tells_payloads_apart() -> None:
    """The same bytes are the same request, any other bytes another one."""
    one, same, other = (decode(message).order.request.digest for message in (asked(), asked(), asked(version=1)))
    assert one == same != other


def test_a_large_request_is_decoded_in_slices() -> None:
    """Whoever decodes it can do something else in between; the models are all there, in their order."""
    names = [f"m-{number}" for number in range(2 * SLICE + 1)]
    payload = asked(*(Configuration(modelID=name, imageUrl="i:1") for name in names)).SerializeToString()
    slices = decoding(ADDRESS, payload, redelivered=False, capabilities=EVERYTHING)
    assert len(list(slices)) == 3
    decoded = decode_deploy_models(ADDRESS, payload, redelivered=False, capabilities=EVERYTHING)
    assert [spec.model for spec in decoded.order.models] == names


@given(st.binary(max_size=200))
def test_no_payload_does_harm(payload: bytes) -> None:
    """Any bytes are an order, are rejected, or are undecodable."""
    try:
        decoded = decode_deploy_models(ADDRESS, payload, redelivered=False, capabilities=Capabilities())
    except (Rejected, Undecodable):
        return
    assert decoded.order.models


@given(st.data())
def test_no_damage_to_a_message_does_harm(data: st.DataObject) -> None:
    """Neither does any change to the bytes of one that was right."""
    message = asked(Configuration(modelID="m", imageUrl="i:1", readyTimeoutSeconds=1, retries=1, args=["x"]))
    set_resources(message)
    payload = bytearray(message.SerializeToString())
    for _ in range(data.draw(st.integers(1, 4))):
        payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    try:
        decode_deploy_models(ADDRESS, bytes(payload), redelivered=False, capabilities=EVERYTHING)
    except (Rejected, Undecodable):
        return
