"""The judge knows what is true: what was told of a model against what became of its processes, in made-up records."""

import pytest

from tests.chaos.evidence import Pod
from tests.chaos.faults import Kind
from tests.chaos.plan import Fate, Hand, ModelPlan
from tests.chaos.scene import Scene, single
from tests.chaos.verdict import Wrong


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


def test_a_pod_that_is_given_up_may_begin_once_more_before_it_is_gone() -> None:
    scene = Scene()
    run = scene.asks(ModelPlan("m", ready_timeout=2.0), version=2)
    scene.tick(3)
    scene.tells_end(run, "m", -1, "ReadyTimeout", attempt=1)
    scene.tick(3)
    scene.lives_on(run, "m", 143, term=True)
    scene.tells(run, "AllModelsHaveTerminated")
    assert scene.wrongs() == {Wrong.STARTED_TWICE}
    scene.pods.append(Pod("sim", "m", "1", "pod-1", run.asked + 1))
    assert scene.wrongs() == set()


def test_a_pod_that_is_removed_while_nobody_looks_may_end_unseen() -> None:
    """It ended well in the grace of a stop, and was removed before its kubelet had said so; MSO was down then."""
    scene = Scene()
    run = scene.asks(ModelPlan("m"), version=2)
    scene.pods.append(Pod("sim", "m", "1", "pod-1", run.asked + 1))
    scene.stops(run)
    scene.lives_on(run, "m", 0)
    scene.tick(5)
    scene.tells_end(run, "m", -1, "Stopped", attempt=1)
    scene.tells(run, "AllModelsHaveTerminated")
    assert scene.wrongs() == {Wrong.UNTRUE}
    scene.suffers(began=scene.lives[0].ended)
    verdict = scene.judged()
    assert (verdict.findings, verdict.unknown_ends) == ([], 1)


def test_what_is_deleted_by_hand_before_a_killed_mso_has_seen_it_may_be_started_again() -> None:
    """The start was under way when MSO was killed: nothing is left that could tell the next one of it."""
    scene = Scene()
    run = scene.asks(ModelPlan("m", Fate(hand=Hand.DELETES)), version=2)
    for _ in range(2):
        life = scene.lives_on(run, "m", 143, term=True)
        life.hand = life.began
    scene.tells_end(run, "m", 143, "Error", attempt=1)
    scene.tells(run, "AllModelsHaveTerminated")
    assert Wrong.STARTED_TWICE in scene.wrongs()
    scene.suffers(began=scene.lives[0].began - 1)
    assert scene.wrongs() == set()


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
