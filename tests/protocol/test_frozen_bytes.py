"""The wire as it was worked out by hand, byte for byte. Version 1 is frozen: who knows nothing newer reads on."""

import re
from typing import Any

import pytest
from google.protobuf import message_factory, text_format

from mso.model import Capabilities, EnvironmentVariable, ModelSpec, Reason, SimulationId, SimulatorName, State
from mso.protocol import lifecycle
from mso.protocol.messages import healthcheck_pb2, lifecycle_pb2
from mso.protocol.topics import DeployModels
from tests.builders import NOW, model, request
from tests.protocol.decoding import decode_deploy_models
from tests.protocol.golden import Entry, read
from tests.protocol.old_peer import ENUMS, HEALTHCHECK, LIFECYCLE, message_class

ADDRESS = DeployModels(SimulatorName("essim"), SimulationId("sim-1"))
GOLDEN = read()
EVERYTHING = Capabilities(command=True, resources=True, secrets=True)

# DeployModels: simulatorId "so"; one model "m" of image "i:1" with A=1; logs kept for 1.5 hours
DEPLOY_MODELS = "0a02736f12100a016d1203693a311a060a014112013119000000000000f83f"
MINUS_ONE = "ffffffffffffffffff01"


def all_messages() -> list[Any]:
    """Their descriptors."""
    modules = (lifecycle_pb2, healthcheck_pb2)
    return [message for module in modules for message in module.DESCRIPTOR.message_types_by_name.values()]


def present_class(name: str) -> Any:
    (found,) = (message for message in all_messages() if message.name == name)
    return message_factory.GetMessageClass(found)


def peers(entry: Entry) -> list[Any]:
    """The classes that have the fields of an entry."""
    return [present_class(entry.message)] + ([message_class(entry.message)] if entry.version == 1 else [])


@pytest.mark.parametrize("entry", GOLDEN, ids=str)
def test_the_bytes_of_a_message(entry: Entry) -> None:
    """Each is these bytes and no others, to write and to read; those of version 1 then and now."""
    for peer in peers(entry):
        told = text_format.Parse(entry.fields, peer())
        heard = peer.FromString(entry.wire)
        assert heard.SerializeToString() == entry.wire
        if entry.grown:
            assert heard != told
            heard.DiscardUnknownFields()
        # As bytes too: no number is unequal to itself, and minus zero is equal to zero.
        assert heard.SerializeToString() == told.SerializeToString()
        assert str(heard) == str(told)


@pytest.mark.parametrize("entry", [entry for entry in GOLDEN if entry.message in LIFECYCLE | HEALTHCHECK], ids=str)
def test_an_old_peer_passes_on_whatever_it_reads(entry: Entry) -> None:
    """What version 2 adds to a message of version 1 is unknown to such a peer, and kept, at any depth."""
    assert message_class(entry.message).FromString(entry.wire).SerializeToString() == entry.wire


def test_every_message_has_its_bytes() -> None:
    """None is without an entry, of version 1 for those that are as old."""
    assert {entry.message for entry in GOLDEN if entry.version == 1} == LIFECYCLE.keys() | HEALTHCHECK.keys()
    assert {entry.message for entry in GOLDEN} == {message.name for message in all_messages()}


def test_every_field_and_every_value_has_its_bytes() -> None:
    """None is without an entry that has it."""
    words = {word for entry in GOLDEN for word in re.findall(r"\w+", entry.fields)}
    seen: set[str] = set()
    for entry in GOLDEN:
        note_names(text_format.Parse(entry.fields, present_class(entry.message)()), seen)
    for message in all_messages():
        for field in message.fields:
            assert field.full_name in seen
            # The first value of an enumeration is never on the wire: an entry names it, and has no bytes for it.
            assert not field.enum_type or words.issuperset(field.enum_type.values_by_name)


def note_names(message: Any, seen: set[str]) -> None:
    """The full names of the fields that are set, at any depth."""
    for field, value in message.ListFields():
        seen.add(field.full_name)
        if field.message_type:
            for inner in value if field.is_repeated else [value]:
                note_names(inner, seen)


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
