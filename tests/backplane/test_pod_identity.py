"""Whose pod it is: names, labels, selectors and marks, for any ids (fault D2)."""

import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mso import recollection
from mso.backplane import Mark
from mso.backplane.pods import (
    OURS,
    PodSettings,
    attempt_of,
    is_of_same_order,
    label_value,
    marking,
    marks_of,
    pod_manifest,
    pod_name,
    recollection_of,
    run_selector,
)
from mso.model import Attempt, Model, ModelId, ModelKey, RunKey, SimulationId, SimulatorName
from mso.protocol.topics import is_legal_id
from tests.builders import NOW, RUN, attempt, model, request, spec

LABEL_VALUE = r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?"
LABEL_KEY = r"([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?([A-Za-z0-9][-A-Za-z0-9_.]{0,61})?[A-Za-z0-9]"
"""https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#syntax-and-character-set"""
DNS_1123 = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"

LOOKALIKES = ("A", "a", "_", "__", "-", "-a", "a-", "9", "9a", "a-b|c", "a|b-c", "a-b", "🔥", "é", "e\u0301", "x" * 256)
IDS = st.sampled_from(LOOKALIKES) | st.text(
    st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="/+#"), min_size=1, max_size=256
).filter(is_legal_id)
ATTEMPTS = st.builds(
    lambda simulation, run, model, number: Attempt(ModelKey(SimulationId(simulation), run, ModelId(model)), number),
    IDS,
    st.integers(1, 100_000),
    IDS,
    st.integers(1, 101),
)
RUNS = st.builds(RunKey, IDS.map(SimulationId), st.integers(1, 20))


def a_pod(of: Model | None = None) -> Any:
    return pod_manifest(of or model(), PodSettings())


def of_attempt(attempt: Attempt, simulator: str = "essim", simulator_id: str = "") -> Model:
    key = attempt.key
    asked = request(key.simulation, simulator, simulator_id=simulator_id)
    return Model(key, spec(key.model), asked, NOW, NOW, attempt=attempt.number)


def selects(selector: str, pod: Any) -> bool:
    """As the API has it: every `name=value` is a label of the pod."""
    pairs = [tuple(pair.split("=", 1)) for pair in selector.split(",")]
    return all(pod["metadata"]["labels"].get(name) == value for name, value in pairs)


# -- names ------------------------------------------------------------------------------------------------------------


@given(ATTEMPTS)
def test_a_name_is_legal_whatever_the_ids(attempt: Attempt) -> None:
    """DNS-1123, 63 characters at most."""
    name = pod_name(attempt)
    assert len(name) <= 63
    assert re.fullmatch(DNS_1123, name)


@given(st.lists(ATTEMPTS, unique=True, min_size=2, max_size=10))
def test_no_two_attempts_have_one_name(attempts: list[Attempt]) -> None:
    """Neither where only the case of a letter differs, nor where one id ends and the next begins."""
    assert len({pod_name(attempt) for attempt in attempts}) == len(attempts)


def test_lookalikes_have_names_of_their_own() -> None:
    """Every pair of these ids, in every role."""
    attempts = {
        attempt(one, number, run, other)
        for one in LOOKALIKES
        for other in LOOKALIKES
        for run, number in ((1, 11), (11, 1))
    }
    assert len({pod_name(one) for one in attempts}) == len(LOOKALIKES) ** 2 * 2


@pytest.mark.parametrize(
    ("attempt", "beginning"),
    (
        (attempt("heat-pump", 2, 3, "Winter 2030"), "heat-pump-winter-2030-3-2-"),
        (attempt("_", 1, 1, "🔥"), "1-1-"),
        (attempt("m" * 100, 1, 1, "s" * 100), "m" * 20 + "-" + "s" * 21 + "-1-1-"),
        (attempt("m" * 100, 1, 1, "s"), "m" * 20 + "-s-1-1-"),
        (attempt("m", 1, 1, "s" * 100), "m-" + "s" * 40 + "-1-1-"),
    ),
)
def test_a_name_can_be_read(attempt: Attempt, beginning: str) -> None:
    """Model, simulation, run and number, as far as there is room for them, then a fingerprint."""
    assert re.fullmatch(re.escape(beginning) + "[0-9a-f]{16}", pod_name(attempt))


# -- labels and annotations -------------------------------------------------------------------------------------------


@given(ATTEMPTS, IDS, st.just("") | IDS)
def test_labels_are_legal_and_annotations_raw(attempt: Attempt, simulator: str, simulator_id: str) -> None:
    """The API takes every label, and every id is found in the annotations as it was said."""
    metadata = a_pod(of_attempt(attempt, simulator, simulator_id))["metadata"]
    for name, value in metadata["labels"].items():
        assert re.fullmatch(LABEL_KEY, name)
        assert re.fullmatch(LABEL_VALUE, value)
        assert len(value) <= 63
    annotations = metadata["annotations"]
    assert all(re.fullmatch(LABEL_KEY, name) for name in annotations)
    key = attempt.key
    assert [annotations[f"mso/{name}"] for name in ("simulator", "simulation", "run", "model-id", "attempt")] == [
        simulator,
        key.simulation,
        str(key.run),
        key.model,
        str(attempt.number),
    ]


@pytest.mark.parametrize("text", ("a", "heat-pump", "Heat_Pump.2", "9", "x" * 63))
def test_a_label_that_is_legal_is_the_id_itself(text: str) -> None:
    """`kubectl get pods -l model_id=heat-pump` is what one types."""
    assert label_value(text) == text


@pytest.mark.parametrize("text", ("", "-a", "a-", "a b", "é", "x" * 64, "a\n"))
def test_any_other_label_is_something_like_the_id(text: str) -> None:
    """It is legal, and not what another id has."""
    assert re.fullmatch(LABEL_VALUE, label_value(text))
    assert label_value(text) != text
    assert label_value(text) != label_value(text + "-")


@given(RUNS, RUNS)
def test_a_selector_finds_the_pods_of_its_run_alone(run: RunKey, other: RunKey) -> None:
    """Pods of another run of the simulation, and of a simulation that looks alike, are no part of it."""
    pod = a_pod(of_attempt(attempt("m-0", 1, run.run, run.simulation)))
    assert selects(run_selector(run), pod)
    assert selects(OURS, pod)
    assert selects(run_selector(other), pod) == (run == other)


def test_a_selector_is_one_that_the_api_takes() -> None:
    """Whatever the id is, nothing of it is read as part of the selector."""
    for simulation in LOOKALIKES:
        pairs = run_selector(RunKey(SimulationId(f"{simulation},x=y"), 1)).split(",")
        assert [len(pair.split("=")) for pair in pairs] == [2, 2]
        assert all(re.fullmatch(LABEL_VALUE, pair.split("=")[1]) for pair in pairs)


# -- whose it is ------------------------------------------------------------------------------------------------------


@given(ATTEMPTS)
def test_a_pod_says_whose_it_is(attempt: Attempt) -> None:
    """Any ids come back from it as they went in."""
    assert attempt_of(a_pod(of_attempt(attempt))) == attempt


FOREIGN: dict[str, dict[str, Any]] = {
    "without annotations": {},
    "annotations that are null": {"annotations": None},
    "annotations of somebody else": {"annotations": {"team": "energy"}},
    "a run that is no number": {"annotations": a_pod()["metadata"]["annotations"] | {"mso/run": "one"}},
    "an attempt that is missing": {
        "annotations": {k: v for k, v in a_pod()["metadata"]["annotations"].items() if k != "mso/attempt"}
    },
    "ids of another model": {"annotations": a_pod()["metadata"]["annotations"] | {"mso/model-id": "m-1"}},
    "the labels for people alone": {"labels": {"simulator_id": "essim", "simulation_id": "sim-1", "model_id": "m-0"}},
    "a copy under another name": a_pod()["metadata"] | {"name": "m-0-sim-1-1-1-debug"},
    "a copy of another attempt": a_pod()["metadata"] | {"name": pod_name(attempt(number=2))},
}


@pytest.mark.parametrize("metadata", FOREIGN.values(), ids=FOREIGN.keys())
def test_a_pod_that_was_not_made_here_is_nobodys(metadata: dict[str, Any]) -> None:
    """It is no attempt of ours, even where it carries our label: somebody may have copied one (fault K8)."""
    pod = {"metadata": {"name": pod_name(attempt()), "labels": {"app.kubernetes.io/managed-by": "mso"}, **metadata}}
    assert attempt_of(pod) is None


def test_a_pod_of_the_same_order_is_recognized() -> None:
    """A create that comes twice meets its own pod, and is content (fault D4)."""
    assert is_of_same_order(a_pod(), model())


@pytest.mark.parametrize(
    "other",
    (
        model(spec=spec(image="image:2")),
        model(request=request(digest="digest-2")),
        model(request=request(simulator=SimulatorName("other"))),
        model(created_at=NOW.replace(microsecond=1)),
        model(attempt=2),
    ),
)
def test_a_pod_of_another_order_is_not_taken_for_it(other: Model) -> None:
    """A leftover of the same name is not what was asked for now."""
    assert not is_of_same_order(a_pod(), other)
    assert not is_of_same_order({"metadata": {"name": pod_name(attempt())}}, other)


def test_a_pod_brings_its_model_back() -> None:
    """With all that is needed to adopt it; where somebody took it off, nothing is made up."""
    wanted = replace(model(), request=request(protocol_version=2, request_id="r-1"), attempt=2)
    pod = a_pod(wanted)
    assert recollection.decode(recollection_of(pod)) == wanted
    bare: tuple[Any, ...] = ({}, {"annotations": None}, {"annotations": {}})
    assert [recollection_of({"metadata": metadata}) for metadata in bare] == ["", "", ""]


# -- marks ------------------------------------------------------------------------------------------------------------


def patched(pod: Any, patch: Any) -> Any:
    """The pod as a merge patch leaves it."""
    annotations = pod["metadata"]["annotations"] | patch["metadata"]["annotations"]
    return {"metadata": pod["metadata"] | {"annotations": annotations}}


def test_a_mark_is_written_and_read() -> None:
    """Each of them by itself, and all of them; a pod has none at first, and the patch touches nothing else."""
    pod = a_pod()
    assert marks_of(pod) == frozenset()
    for number, mark in enumerate(Mark, start=1):
        assert marks_of(patched(a_pod(), marking(mark))) == {mark}
        pod = patched(pod, marking(mark))
        assert marks_of(pod) == set(list(Mark)[:number])
    assert attempt_of(pod) == attempt()
    assert is_of_same_order(pod, model())


@pytest.mark.parametrize("mark", Mark)
def test_a_mark_is_an_annotation_that_the_api_takes(mark: Mark) -> None:
    """Its name is legal, and its value is text."""
    ((name, value),) = marking(mark)["metadata"]["annotations"].items()
    assert re.fullmatch(LABEL_KEY, name)
    assert isinstance(value, str)


def test_marks_of_a_later_release_are_let_be() -> None:
    """What is not known here is none; nor has a pod without annotations any."""
    assert marks_of({"metadata": {"annotations": {"mso/mark-frozen": "true"}}}) == frozenset()
    assert marks_of({"metadata": {}}) == marks_of({"metadata": {"annotations": None}}) == frozenset()


def test_the_run_of_the_builders_is_selected() -> None:
    """The labels that select a run are the same in every release."""
    assert run_selector(RUN) == ("app.kubernetes.io/managed-by=mso,mso/run-id=6bbea63d1db641267fc6cbd8bbc20fd11739276b")
