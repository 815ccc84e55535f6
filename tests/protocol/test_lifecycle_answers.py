"""Lifecycle messages: what is answered, and how much of it."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mso.inventory import Rejected
from mso.model import Reason, State
from mso.protocol import MAX_VERSION, MIN_VERSION, lifecycle
from mso.protocol.lifecycle import fit
from mso.protocol.messages import healthcheck_pb2, lifecycle_pb2
from tests.builders import NOW, model, request


def ended(**fields: Any) -> lifecycle_pb2.ModelHasTerminated:
    """What is said in version 2 of a model that ended like this."""
    values: dict[str, Any] = {"state": State.FAILED, "exit_code": 137, "reason": Reason.OOM_KILLED} | fields
    lines, warnings = values.pop("last_lines", ()), values.pop("warnings", ())
    payload = lifecycle.model_has_terminated(model(request=request(protocol_version=2), **values), lines, warnings)
    return lifecycle_pb2.ModelHasTerminated.FromString(payload)


def test_version_2_says_how_a_model_ended() -> None:
    """Reason, words, last lines, times and attempt."""
    later = NOW + timedelta(seconds=90, microseconds=250)
    said = ended(message="too big", started_at=NOW, finished_at=later, attempt=2, last_lines=["one", "two"])
    assert (said.status, said.exitCode, said.reason, said.message) == (1, 137, "OOMKilled", "too big")
    assert list(said.lastLogLines) == ["one", "two"]
    assert said.startedAt.ToDatetime(NOW.tzinfo) == NOW
    assert said.finishedAt.ToDatetime(NOW.tzinfo) == later
    assert said.attempt == 2


def test_what_is_not_known_is_absent() -> None:
    """A model that never started has no time of starting."""
    said = ended(exit_code=None, reason=Reason.DEPLOY_FAILED)
    assert said.exitCode == -1
    assert not said.HasField("startedAt")
    assert not said.HasField("finishedAt")


def test_a_success_says_so() -> None:
    """Exit code 0 is SUCCESSFULL and Completed."""
    said = ended(state=State.SUCCEEDED, exit_code=0, reason=Reason.COMPLETED)
    assert (said.status, said.exitCode, said.reason) == (0, 0, "Completed")


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_is_a_word_of_the_wire(reason: Reason) -> None:
    """What MSO knows as a reason is in the list of the protocol."""
    words = (
        "Completed, Error, OOMKilled, Evicted, PodDeleted, ImagePullFailed, Unschedulable, DeployFailed, ReadyTimeout, "
        "RuntimeExceeded, NodeLost, Stopped"
    )
    assert ended(reason=reason).reason in words.split(", ")


def test_the_last_lines_have_a_bound() -> None:
    """Of a flood of lines the last 64 KiB go, whole."""
    lines = [f"{number:06} {'é' * 500}" for number in range(1000)]
    said = list(ended(last_lines=lines).lastLogLines)
    assert said == lines[-len(said) :]
    size = sum(len(line.encode()) for line in said)
    assert 64 * 1024 - 1007 < size <= 64 * 1024


def test_one_endless_line_keeps_its_end() -> None:
    """What a program said last is what one wants to read, cut at a character and not within one."""
    (line,) = ended(last_lines=["é" * 100_000 + "the end"]).lastLogLines
    assert line.endswith("éthe end")
    assert 64 * 1024 - 2 <= len(line.encode()) <= 64 * 1024


def test_endless_words_are_cut() -> None:
    """A message of 4 KiB says enough."""
    assert len(ended(message="é" * 10_000).message.encode()) == 4096


@pytest.mark.parametrize(
    ("message", "warnings", "said"),
    (
        ("0/3 nodes", (), "0/3 nodes"),
        ("0/3 nodes", ("FailedScheduling: no room",), "0/3 nodes\nFailedScheduling: no room"),
        ("no", ("one", "two"), "no\none\ntwo"),
        ("", ("FailedMount: no such secret",), "FailedMount: no such secret"),
        ("", (), ""),
        ("a", ("b\udcffc",), "a\nb?c"),
    ),
)
def test_warnings_of_the_backplane_stand_below_the_message(message: str, warnings: tuple[str, ...], said: str) -> None:
    """One a line, and nothing where there are none (fault P7)."""
    assert ended(message=message, warnings=warnings).message == said


def test_endless_warnings_are_cut() -> None:
    """The message comes first, so that it is the last that would be lost."""
    said = ended(message="the message", warnings=["é" * 1000] * 100).message
    assert said.startswith("the message\né")
    assert len(said.encode()) in (4095, 4096)


def test_version_1_has_no_word_for_warnings() -> None:
    """It gets the bytes that it always got."""
    failed = model(state=State.FAILED, exit_code=137, reason=Reason.OOM_KILLED, message="too big")
    assert lifecycle.model_has_terminated(failed, ("a line",), ("a warning",)).hex() == "0801108901"


def test_text_that_is_no_utf_8_is_sent_all_the_same() -> None:
    """A lone surrogate, as from the name of a file, does not keep a termination from going out."""
    said = ended(message="a\udcffb", last_lines=["c\udcffd"])
    assert (said.message, list(said.lastLogLines)) == ("a?b", ["c?d"])


@given(st.lists(st.text(max_size=20), max_size=20), st.integers(1, 60))
def test_fit_keeps_as_many_of_the_last_lines_as_there_is_room_for(lines: list[str], limit: int) -> None:
    """Never more bytes than the limit, and one more line would be too many."""
    kept = fit(lines, limit)
    sizes = [len(line.encode()) for line in lines]
    assert sum(len(line.encode()) for line in kept) <= limit
    if lines and sizes[-1] > limit:
        assert len(kept) == 1
        assert lines[-1].endswith(kept[0])
    else:
        assert kept == lines[len(lines) - len(kept) :]
        assert len(kept) == len(lines) or sum(sizes[-len(kept) - 1 :]) > limit


def test_a_rejection_says_what_is_wrong_and_what_is_spoken() -> None:
    """Its errors are there to be read, and have bounds."""
    said = lifecycle_pb2.DeployModelsRejected.FromString(
        lifecycle.deploy_models_rejected(Rejected("no", ["x" * 10_000, *(str(number) for number in range(500))]))
    )
    assert (said.reason, said.minProtocolVersion, said.maxProtocolVersion) == ("no", MIN_VERSION, MAX_VERSION)
    assert len(said.errors) == 100
    assert len(said.errors[0]) == 4096


@pytest.mark.parametrize("online", (True, False))
def test_the_presence_says_what_is_spoken(online: bool) -> None:
    """Whoever looks at the retained status learns the versions, and whether anybody is there."""
    said = healthcheck_pb2.MsoStatus.FromString(lifecycle.mso_status(online=online, software_version="1.2.3"))
    assert (said.online, said.minProtocolVersion, said.maxProtocolVersion, said.softwareVersion) == (
        online,
        1,
        2,
        "1.2.3",
    )


# -- ErrorOccurred ----------------------------------------------------------------------------------------------------


def complaint(**fields: Any) -> bytes:
    """What is said of a model that failed like this."""
    values: dict[str, Any] = {"state": State.FAILED, "exit_code": 137, "reason": Reason.OOM_KILLED}
    return lifecycle.error_occurred(model("heat-pump", **(values | fields)))


@pytest.mark.parametrize(
    ("fields", "text"),
    (
        ({}, "model heat-pump failed: OOMKilled, exit code 137"),
        ({"message": "too big"}, "model heat-pump failed: OOMKilled, exit code 137: too big"),
        (
            {"exit_code": -1, "reason": Reason.IMAGE_PULL_FAILED, "message": "ErrImagePull: é"},
            "model heat-pump failed: ImagePullFailed, exit code -1: ErrImagePull: é",
        ),
    ),
)
def test_an_error_says_which_model_failed_and_why(fields: dict[str, Any], text: str) -> None:
    """In one text, as version 1 has it: field 1, its length, its utf-8."""
    data = text.encode()
    assert complaint(**fields) == b"\x0a" + bytes([len(data)]) + data


@pytest.mark.parametrize("version", (1, 2))
def test_an_error_is_the_same_in_every_version(version: int) -> None:
    """Whoever obeys it reads one field."""
    assert complaint(request=request(protocol_version=version)) == complaint()


def test_an_endless_error_is_cut() -> None:
    """At a character, and at 4 KiB; text that is no utf-8 does not keep it from going out."""
    said = lifecycle_pb2.ErrorOccurred.FromString(complaint(message="\udcff" + "é" * 10_000)).error_message
    assert said.startswith("model heat-pump failed: OOMKilled, exit code 137: ?é")
    assert len(said.encode()) in (4095, 4096)
