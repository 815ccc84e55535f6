"""A model as text and back."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mso.backplane.attempts import directory_name
from mso.model import (
    EnvironmentVariable,
    FailurePolicy,
    Model,
    ModelId,
    ModelKey,
    ModelSpec,
    Request,
    Resources,
    SimulationId,
    SimulatorName,
)
from mso.recollection import UnreadableModelError, decode, encode

SPANS = st.timedeltas(timedelta(0), timedelta(days=365_000))
TIMES = st.datetimes(timezones=st.sampled_from((UTC, timezone(timedelta(hours=2)))))


@st.composite
def models(draw: st.DrawFn) -> Model:
    """Any model that was asked for and has not yet begun."""
    spec = draw(st.builds(ModelSpec, ready_timeout=st.none() | SPANS, max_runtime=st.none() | SPANS))
    key = ModelKey(SimulationId(draw(st.text())), draw(st.integers(1)), spec.model)
    request = draw(st.builds(Request, simulation=st.just(key.simulation), keep_logs=SPANS))
    return Model(key, spec, request, draw(TIMES), draw(TIMES), attempt=draw(st.integers(1)))


@given(models())
def test_a_model_comes_back_as_it_was(model: Model) -> None:
    """Every field of request and specification survives, and so does the digest."""
    recalled = decode(encode(model))
    assert recalled == model
    assert recalled.spec == model.spec


OLD_TEXT = (
    '{"format": 1, "simulation": "sim-1", "run": 2, "model": "heat \\u00fc", "attempt": 3, '
    '"createdAt": "2026-05-04T12:00:00+00:00", "since": "2026-05-04T12:00:01.000250+00:00", '
    '"spec": {"image": "image:1", "environment": [["A", "1", "", ""], ["B", "", "secret", "key"]], '
    '"resources": {"cpuRequest": "500m", "memoryRequest": "", "cpuLimit": "", "memoryLimit": "1Gi", "gpus": 2}, '
    '"readyTimeout": null, "maxRuntime": 90000000, "retries": 1, "command": ["run"], "args": [], "type": "t", '
    '"version": "v"}, '
    '"request": {"simulator": "essim", "simulatorId": "Essim", "protocolVersion": 2, "keepLogs": 3600000000, '
    '"failurePolicy": "stop-all", "moreToCome": true, "requestId": "r-1", "digest": "d"}}'
)
"""As it was written by every release so far."""
OLD_MODEL = Model(
    ModelKey(SimulationId("sim-1"), 2, ModelId("heat ü")),
    ModelSpec(
        ModelId("heat ü"),
        "image:1",
        (EnvironmentVariable("A", "1"), EnvironmentVariable("B", "", "secret", "key")),
        Resources("500m", memory_limit="1Gi", gpus=2),
        max_runtime=timedelta(seconds=90),
        retries=1,
        command=("run",),
        type="t",
        version="v",
    ),
    Request(
        SimulatorName("essim"),
        SimulationId("sim-1"),
        "Essim",
        2,
        timedelta(hours=1),
        FailurePolicy.STOP_ALL,
        more_to_come=True,
        request_id="r-1",
        digest="d",
    ),
    datetime(2026, 5, 4, 12, 0, tzinfo=UTC),
    datetime(2026, 5, 4, 12, 0, 1, 250, tzinfo=UTC),
    attempt=3,
)


def test_the_text_is_the_same_in_every_release() -> None:
    """What an earlier one wrote is read, and its pods are told by the very text."""
    assert decode(OLD_TEXT) == OLD_MODEL
    assert encode(OLD_MODEL) == OLD_TEXT


def test_what_a_later_release_adds_is_passed_over() -> None:
    """As long as it is the same format."""
    assert decode(OLD_TEXT.replace('"retries"', '"colour": {"of": ["the", 1]}, "retries"')) == OLD_MODEL


def a_text() -> str:
    now = datetime.now(UTC)
    key = ModelKey(SimulationId("sim"), 1, ModelId("model"))
    return encode(Model(key, ModelSpec(key.model, "image"), Request(SimulatorName("so"), key.simulation), now, now))


def test_another_format_is_refused_by_name() -> None:
    """What a later release wrote is never half understood."""
    with pytest.raises(UnreadableModelError, match="format 2: this release reads 1"):
        decode(a_text().replace('"format": 1', '"format": 2'))


@pytest.mark.parametrize(
    "text",
    (
        *("", "{}", "[]", "null", "1", '{"format": 1}'),
        a_text()[:-2],
        a_text().replace("run", "x"),
        OLD_TEXT.replace('"run": 2', '"run": "2"'),
        OLD_TEXT.replace('["A", "1", "", ""]', '["A", "1"]'),
        OLD_TEXT.replace("stop-all", "stop-some"),
        OLD_TEXT.replace("2026-05-04T12:00:00+00:00", "yesterday"),
    ),
)
def test_a_damaged_text_is_refused(text: str) -> None:
    """A text that was cut off, or is something else, is an UnreadableModelError and nothing else."""
    with pytest.raises(UnreadableModelError):
        decode(text)


@given(st.lists(st.text(max_size=256), unique=True, min_size=2))
def test_directory_names_are_legal_and_unique_for_any_ids(ids: list[str]) -> None:
    """Short, ASCII, lower case: the same on every file system, those that ignore case included (fault D2)."""
    names = [directory_name(one) for one in ids]
    assert len(set(names)) == len(ids)
    for name in names:
        assert 0 < len(name) <= 50
        assert all(
            character.isascii() and (character.isdigit() or character.islower() or character == "-")
            for character in name
        )
        assert not name.startswith("-")
