"""The judge finds each kind of misbehaviour in made-up records, and nothing in a clean one."""

from dataclasses import replace

import pytest

from tests.chaos.evidence import Life, Played, Pod
from tests.chaos.faults import Kind
from tests.chaos.plan import Fate, Manner, ModelPlan
from tests.chaos.scene import SO, Scene, patient, single
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


@pytest.mark.parametrize(
    ("said", "code", "good"),
    (
        (0, 0, True),
        (7, 7, True),
        (-9, 137, True),
        (-11, 139, True),
        (0, 1, False),
        (7, 0, False),
        (7, 8, False),
        (0, -1, False),
        (7, 137, False),
        (-11, 137, False),
    ),
)
def test_the_code_is_that_of_the_process(said: int, code: int, good: bool) -> None:
    scene, _ = single(code, said)
    assert scene.wrongs() == (set() if good else {Wrong.UNTRUE})


def test_an_end_that_is_told_in_two_ways_is_untrue() -> None:
    scene, run = single(3, 3)
    scene.suffers()
    scene.tells_end(run, "m", 4)
    assert scene.wrongs() == {Wrong.UNTRUE}


def test_version_1_gets_the_bytes_of_version_1() -> None:
    scene = Scene()
    run = scene.asks(ModelPlan("m"))
    scene.lives_on(run, "m")
    scene.tells_end(run, "m", 0, "Completed")
    scene.tells(run, "AllModelsHaveTerminated")
    assert scene.wrongs() == {Wrong.UNTRUE}


def test_an_end_that_is_told_while_the_model_lives_is_untrue() -> None:
    scene = Scene()
    run = scene.asks(ModelPlan("m"))
    life = scene.lives_on(run, "m")
    scene.tells_end(run, "m")
    scene.tells(run, "AllModelsHaveTerminated")
    life.ended = scene.tick(10)
    assert scene.wrongs() == {Wrong.UNTRUE}
    life.ended = None
    assert scene.wrongs() == {Wrong.UNTRUE, Wrong.LEFT}


@pytest.mark.parametrize(("said", "term"), ((None, False), (143, True), (0, True)))
def test_a_model_that_was_killed_for_no_reason_was_harmed(said: int | None, term: bool) -> None:
    assert single(137, said, term=term)[0].wrongs() == {Wrong.HARMED}


@pytest.mark.parametrize(
    ("said", "term", "code", "wrongs"),
    (
        (None, False, 137, set()),
        (143, True, 143, set()),
        (0, True, 143, set()),
        (0, True, 0, {Wrong.UNTRUE}),
        (0, False, 0, set()),
        (0, False, 143, {Wrong.UNTRUE}),
        (5, False, 5, set()),
    ),
)
def test_what_a_stop_ends_is_told_as_stopped(said: int | None, term: bool, code: int, wrongs: set[Wrong]) -> None:
    """And what ended by itself as it did; an answer of 0 to SIGTERM is no success."""
    scene = Scene()
    run = scene.asks(ModelPlan("m"), version=2)
    scene.stops(run)
    scene.lives_on(run, "m", said, term=term)
    scene.tells_end(run, "m", code, "Stopped" if term or code > 100 else "Completed", attempt=1)
    scene.tells(run, "AllModelsHaveTerminated")
    assert scene.wrongs() == wrongs


def test_stop_all_ends_the_others() -> None:
    scene = Scene()
    run = scene.asks(ModelPlan("bad"), ModelPlan("good"), version=2, stop_all=True)
    scene.lives_on(run, "bad", 1)
    scene.lives_on(run, "good", 143, term=True)
    scene.tells_end(run, "bad", 1, "Error", attempt=1)
    scene.tells_end(run, "good", 143, "Stopped", attempt=1)
    scene.tells(run, "AllModelsHaveTerminated")
    assert scene.wrongs() == set()


def test_a_model_that_was_not_started_has_a_reason() -> None:
    scene = Scene()
    run = scene.asks(ModelPlan("m"))
    scene.tells_end(run, "m", -1)
    scene.tells(run, "AllModelsHaveTerminated")
    assert scene.wrongs() == {Wrong.NOT_TRIED}
    scene.suffers(Kind.DISK_FULL, began=run.asked - 1)
    assert scene.wrongs() == set()


def test_a_full_disk_may_hide_how_a_model_ended() -> None:
    scene, run = single(137, 0)
    assert scene.wrongs() == {Wrong.UNTRUE}
    scene.suffers(Kind.DISK_FULL, began=run.asked)
    verdict = scene.judged()
    assert (verdict.findings, verdict.unknown_ends) == ([], 1)


def retried(codes: tuple[int, ...], told: int, attempt: int, retries: int = 2) -> Scene:
    scene = Scene()
    run = scene.asks(ModelPlan("m", Fate(codes), retries=retries), version=2)
    for code in codes:
        scene.lives_on(run, "m", code)
    scene.tells_end(run, "m", told, "Error" if told else "Completed", attempt=attempt)
    scene.tells(run, "AllModelsHaveTerminated")
    return scene


@pytest.mark.parametrize(
    ("codes", "told", "attempt", "wrongs"),
    (
        ((1, 0), 0, 2, set()),
        ((1, 2, 3), 3, 3, set()),
        ((1, 2), 2, 2, {Wrong.NOT_TRIED}),
        ((1, 0), 0, 1, {Wrong.UNTRUE}),
        ((1, 2, 3), 2, 3, {Wrong.UNTRUE}),
        ((1, 2, 3, 4), 4, 4, {Wrong.UNTRUE, Wrong.STARTED_TWICE}),
        ((0, 1), 1, 2, {Wrong.STARTED_TWICE, Wrong.NOT_TRIED}),
    ),
)
def test_attempts(codes: tuple[int, ...], told: int, attempt: int, wrongs: set[Wrong]) -> None:
    """As many as were asked for, one after the other, until one ends well; the last one counts."""
    assert retried(codes, told, attempt).wrongs() == wrongs


def test_an_attempt_is_one_process_at_a_time() -> None:
    scene = retried((1, 0), 0, 2)
    scene.lives[0].ended = scene.lives[1].began + 3
    assert scene.wrongs() == {Wrong.STARTED_TWICE}


def test_a_good_end_that_nobody_had_room_to_write_down_may_be_tried_again() -> None:
    """Its exit code found no room, nor did what a living MSO saw of it before it was killed."""
    scene = retried((0, 0), 0, 2)
    assert scene.wrongs() == {Wrong.STARTED_TWICE}
    scene.suffers(Kind.DISK_FULL, began=scene.lives[0].began)
    assert scene.wrongs() == set()


def test_nothing_is_started_after_its_end_was_told() -> None:
    scene, run = single()
    scene.lives.clear()
    scene.tick(5)
    scene.lives_on(run, "m")
    assert Wrong.STARTED_TWICE in scene.wrongs()


def test_two_pods_of_one_attempt_are_one_too_many() -> None:
    scene, run = single()
    scene.pods += [Pod("sim", "m", uid, f"pod-{uid}", run.asked + 1) for uid in ("1", "2")]
    assert scene.wrongs() == {Wrong.STARTED_TWICE}


@pytest.mark.parametrize(("waited", "good"), ((88.5, True), (20.0, False)))
def test_a_time_limit_is_kept_whatever_the_clock_says(waited: float, good: bool) -> None:
    scene = Scene()
    run = scene.asks(ModelPlan("m", ready_timeout=90.0), version=2)
    scene.lives_on(run, "m", 143, term=True, lasts=waited)
    scene.tells_end(run, "m", -1, "ReadyTimeout", attempt=1)
    scene.tells(run, "AllModelsHaveTerminated")
    assert scene.wrongs() == (set() if good else {Wrong.UNTRUE, Wrong.HARMED})


def test_a_model_that_was_ready_in_time_is_not_told_that_it_was_not() -> None:
    scene = Scene()
    run = scene.asks(ModelPlan("m", ready_timeout=90.0), version=2)
    scene.announces(run, "m")
    scene.lives_on(run, "m", 143, term=True, lasts=100.0)
    scene.tells_end(run, "m", -1, "ReadyTimeout", attempt=1)
    scene.tells(run, "AllModelsHaveTerminated")
    assert scene.wrongs() == {Wrong.UNTRUE, Wrong.HARMED}


def test_a_reason_that_does_not_fit_is_untrue() -> None:
    scene = Scene()
    run = scene.asks(ModelPlan("m"), version=2)
    scene.lives_on(run, "m", 1)
    scene.tells_end(run, "m", 1, "Stopped", attempt=1)
    scene.tells(run, "AllModelsHaveTerminated")
    assert scene.wrongs() == {Wrong.UNTRUE}


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
