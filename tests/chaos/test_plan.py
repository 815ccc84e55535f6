"""The plan follows from the seed, and keeps its own rules."""

import pytest

from tests.chaos.faults import Cue, Kind, faults_of_round
from tests.chaos.plan import NO_IMAGE, Can, Hand, Manner, RunPlan, models_of, runs_of_round

LAPTOP = Can()
CLUSTER = Can(signals=False, hands=True, slots=3, models=4)
LOCAL = [kind for kind in Kind if kind.lane in ("mso", "broker", "disk", "clock") and kind is not Kind.MSO_ENDED]


def runs(can: Can = LAPTOP, seeds: int = 20) -> list[RunPlan]:
    return [run for seed in range(seeds) for slot in runs_of_round(f"{seed}/1", can, 10) for run in slot]


@pytest.mark.parametrize("can", (LAPTOP, CLUSTER))
def test_a_seed_makes_one_plan(can: Can) -> None:
    assert runs_of_round("7/3", can, 30) == runs_of_round("7/3", can, 30)
    assert runs_of_round("7/3", can, 30) != runs_of_round("7/4", can, 30)
    assert faults_of_round("7/3", LOCAL, 40) == faults_of_round("7/3", LOCAL, 40)
    assert faults_of_round("7/3", LOCAL, 40) != faults_of_round("8/3", LOCAL, 40)


def test_what_is_left_out_changes_nothing_about_the_other_lanes() -> None:
    fewer = [kind for kind in LOCAL if kind.lane != "disk"]
    expected = [fault for fault in faults_of_round("1/1", LOCAL, 60) if fault.kind.lane != "disk"]
    assert list(faults_of_round("1/1", fewer, 60)) == expected


def test_models_are_named_once_but_for_runs_of_the_same_bytes() -> None:
    planned = runs()
    names = [model.id for run in planned if run.manner is not Manner.SAME for model in run.models]
    assert len(names) == len(set(names))
    labels = [run.label for run in planned]
    assert len(labels) == len(set(labels))


def test_runs_of_the_same_bytes_differ_in_nothing_but_how_their_models_end() -> None:
    same = [run for run in runs() if run.manner is Manner.SAME]
    by_series: dict[str, list[RunPlan]] = {}
    for run in same:
        by_series.setdefault(run.label[:-1], []).append(run)
    assert by_series
    for series in by_series.values():
        assert len({(run.simulation, run.request, tuple(model.id for model in run.models)) for run in series}) == 1
        codes = [{code for model in run.models for code in model.fate.codes} for run in series]
        assert all(len(one) == 1 and 0 not in one for one in codes)
        assert len({frozenset(one) for one in codes}) == len(series)


def test_every_run_can_end() -> None:
    """What has no end of its own is stopped, timed out, or released once all are ready."""
    for run in runs() + runs(CLUSTER):
        for model in run.models:
            fate = model.fate
            by_itself = fate.lasts is not None or model.image == NO_IMAGE
            limited = bool(model.ready_timeout or model.max_runtime)
            released = run.waits_for_models_ready and not fate.endless and fate.ready is not None
            assert by_itself or limited or released or run.stops or run.request.stop_all, (run, model)


def test_a_request_without_an_id_is_repeated_only_where_that_cannot_open_a_second_run() -> None:
    for run in runs():
        if not run.request.with_id:
            assert run.request.late_copy is None
            assert set(run.request.copies) <= {0.0}
            assert not run.request.copies or run.waits_for_models_ready


def test_version_1_asks_for_nothing_of_version_2() -> None:
    for run in runs():
        if run.request.version == 1:
            assert not run.request.with_id
            assert len(run.parts) == 1
            assert not any(model.retries or model.ready_timeout or model.max_runtime for model in run.models)


def test_all_that_can_happen_to_models_happens() -> None:
    planned = runs(CLUSTER)
    models = models_of([tuple(planned)])
    assert {run.manner for run in planned} == set(Manner)
    assert {model.fate.hand for model in models} == {None, *Hand}
    assert any(model.retries for model in models)
    assert any(model.ready_timeout for model in models)
    assert any(len(run.parts) == 2 for run in planned)
    assert any(model.image == NO_IMAGE for model in models)
    assert not any(code < 0 for model in models for code in model.fate.codes)
    assert any(code < 0 for model in models_of([tuple(runs())]) for code in model.fate.codes)


def test_faults_of_a_lane_do_not_overlap_and_all_kinds_are_used() -> None:
    seen: set[Kind] = set()
    cues: set[Cue] = set()
    for seed in range(60):
        until: dict[str, float] = {}
        for fault in faults_of_round(f"{seed}/1", LOCAL, 40):
            assert 0 < fault.at < 40
            assert fault.at >= until.get(fault.kind.lane, 0.0)
            until[fault.kind.lane] = fault.at + fault.lasts
            seen.add(fault.kind)
            cues.add(fault.cue)
    assert seen == set(LOCAL)
    assert cues == set(Cue)
