"""The judge finds each kind of misbehaviour in made-up records, and nothing in a clean one."""

from dataclasses import replace

import pytest

from tests.chaos.evidence import Life, Played
from tests.chaos.faults import Kind
from tests.chaos.plan import Fate, Manner, ModelPlan
from tests.chaos.scene import SO, Scene, patient
from tests.chaos.verdict import Verdict, Wrong


def without(scene: Scene, name: str, model: str = "") -> None:
    """Somebody lost a message."""
    scene.words = [word for word in scene.words if not (word.name == name and word.model == model)]


def test_a_run_that_goes_as_promised_is_found_good() -> None:
    """And its figures are counted."""
    verdict = patient("a", "b")[0].judged()
    assert verdict.findings == []
    assert (verdict.simulations, verdict.models, verdict.starts, verdict.messages) == (1, 2, 2, 4)
    assert (verdict.duplicates, verdict.unknown_ends) == (0, 0)


@pytest.mark.parametrize(
    ("name", "model"), (("ModelHasTerminated", "b"), ("AllModelsHaveTerminated", ""), ("ModelsReady", ""))
)
def test_what_did_not_come_is_lost(name: str, model: str) -> None:
    scene, _ = patient("a", "b")
    without(scene, name, model)
    assert Wrong.LOST in scene.wrongs()


def test_a_request_that_nobody_answered_is_lost() -> None:
    scene = Scene()
    scene.asks(ModelPlan("m"))
    assert scene.judged().count(Wrong.LOST) == 2


def test_what_the_judge_alone_has_heard_is_lost_for_the_orchestrator() -> None:
    scene, run = patient("a")
    run.ended = None
    assert scene.wrongs() == {Wrong.LOST}


def test_models_ready_is_not_missed_where_a_model_was_never_started() -> None:
    """The disk was full: that model cannot be ready, so the run cannot be."""
    scene = Scene()
    scene.suffers(Kind.DISK_FULL)
    run = scene.asks(ModelPlan("a"), ModelPlan("b"), manner=Manner.PATIENT)
    scene.tells_end(run, "b", -1)
    scene.announces(run, "a")
    scene.lives_on(run, "a")
    scene.tells_end(run, "a")
    scene.tells(run, "AllModelsHaveTerminated")
    assert scene.wrongs() == set()


def test_models_ready_comes_once() -> None:
    scene, run = patient("a", "b")
    scene.words.insert(4, replace(scene.words[3], at=scene.words[3].at + 0.1))
    assert scene.wrongs() == {Wrong.READY_TWICE}
    assert run.plan.label in str(scene.judged().findings[0])


def test_what_the_broker_repeats_to_the_judge_is_said_once() -> None:
    scene, run = patient("a")
    scene.tells(run, "ModelsReady", again=True)
    scene.tells_end(run, "a", again=True)
    verdict = scene.judged()
    assert (verdict.findings, verdict.duplicates) == ([], 0)


def test_models_ready_before_all_are_ready_is_too_soon() -> None:
    scene, _ = patient("a", "b")
    without(scene, "ReadyForProcessing", "b")
    assert Wrong.READY_TOO_SOON in scene.wrongs()


def test_models_ready_after_a_failure_or_after_the_end_is_out_of_order() -> None:
    scene, run = patient("a", "b", code=3)
    ready = next(word for word in scene.words if word.name == "ModelsReady")
    scene.words.remove(ready)
    scene.words.insert(4, ready)
    assert scene.wrongs() == {Wrong.OUT_OF_ORDER}
    scene.words.remove(ready)
    scene.tells(run, "ModelsReady")
    assert scene.wrongs() == {Wrong.OUT_OF_ORDER}


def test_all_models_have_terminated_comes_last() -> None:
    scene, _ = patient("a", "b")
    scene.words[-1], scene.words[-2] = scene.words[-2], scene.words[-1]
    assert scene.judged().count(Wrong.OUT_OF_ORDER) == 2


def test_a_duplicate_is_counted_near_a_fault_and_wrong_elsewhere() -> None:
    scene, run = patient("a")
    scene.tells_end(run, "a")
    assert scene.wrongs() == {Wrong.DUPLICATE}
    scene.suffers(began=scene.now - 5)
    verdict = scene.judged()
    assert (verdict.findings, verdict.duplicates, verdict.faults[Kind.MSO_KILL]) == ([], 1, 1)


def test_a_late_copy_of_the_end_is_that_of_the_run_before() -> None:
    """It comes when the next run is asked for already, and before any model of that has ended."""
    scene, first = patient("a")
    scene.suffers()
    second = scene.asks(ModelPlan("b"))
    scene.tells(first, "AllModelsHaveTerminated")
    scene.lives_on(second, "b")
    scene.tells_end(second, "b")
    assert scene.judged().count(Wrong.LOST) == 1
    scene.tells(second, "AllModelsHaveTerminated")
    verdict = scene.judged()
    assert (verdict.findings, verdict.duplicate_ends) == ([], 1)


def test_a_late_copy_of_a_request_is_about_its_own_run() -> None:
    scene, first = patient("a")
    second = scene.asks(ModelPlan("b"))
    scene.word(f"/lifecycle/{SO}/mso/sim/DeployModels", first.payloads[0])
    scene.lives_on(second, "b")
    scene.tells_end(second, "b")
    scene.tells(second, "AllModelsHaveTerminated")
    assert scene.wrongs() == set()


def test_runs_of_the_same_bytes_are_told_apart_by_their_codes() -> None:
    """A copy of an end of the first does not stand for the end of the second."""
    scene = Scene()
    runs: list[Played] = []
    for code in (20, 21):
        model = ModelPlan("m", Fate((code,)))
        run = scene.asks(model, manner=Manner.SAME, same=runs[0] if runs else None)
        scene.announces(run, "m")
        scene.tells(run, "ModelsReady")
        scene.lives_on(run, "m", code)
        scene.tells_end(run, "m", code)
        scene.tells(run, "AllModelsHaveTerminated")
        runs.append(run)
    assert scene.wrongs() == set()
    scene.words = [word for word in scene.words if not (word.model and word.name[0] == "M" and word.end.exitCode == 21)]
    scene.suffers()
    scene.tells_end(runs[0], "m", 20)
    assert scene.judged().count(Wrong.LOST) >= 1


def test_what_comes_late_of_the_round_before_is_no_stranger() -> None:
    scene, run = patient("a")
    later = Scene(now=scene.now, before=[run])
    later.suffers()
    later.tells(run, "AllModelsHaveTerminated")
    later.tells_end(run, "a")
    assert later.wrongs() == set()


def test_rejections_strangers_and_what_is_left_are_found() -> None:
    scene, run = patient("a")
    scene.tells(run, "DeployModelsRejected")
    scene.word(f"/lifecycle/mso/{SO}/nobody/AllModelsHaveTerminated")
    scene.lives.append(Life("sim", "z", None, 1, "1@host", 1.0, 2.0))
    scene.left.append("process 7")
    scene.touched.append("pod x")
    verdict = scene.judged()
    counts = {wrong: verdict.count(wrong) for wrong in (Wrong.REJECTED, Wrong.UNASKED, Wrong.LEFT, Wrong.TOUCHED)}
    assert counts == {Wrong.REJECTED: 1, Wrong.UNASKED: 2, Wrong.LEFT: 1, Wrong.TOUCHED: 1}


def test_recovery_is_from_the_end_of_a_fault_to_the_first_sign_of_work() -> None:
    scene = Scene()
    run = scene.asks(ModelPlan("m"))
    scene.suffers()
    scene.tick(4)
    scene.lives_on(run, "m")
    scene.tells_end(run, "m")
    scene.tells(run, "AllModelsHaveTerminated")
    scene.suffers()
    assert scene.judged().longest_recovery == pytest.approx(5.0)


def test_verdicts_add_up() -> None:
    total = Verdict()
    for _ in range(2):
        scene, run = patient("a", "b")
        scene.suffers()
        scene.tells_end(run, "a")
        total.add(scene.judged())
    figures = total.figures()
    assert (figures["rounds"], figures["models"], figures["duplicates"]) == (2, 4, 2)
    assert figures["faults"] == {"mso: kill -9": 2}
    assert set(figures["wrong"].values()) == {0}
