"""Who may be deployed when only so many models may live at once."""

from collections.abc import Callable

from mso.admission import Admission
from mso.model import ModelKey, RunKey, SimulationId
from tests.builders import key


def run(simulation: str) -> RunKey:
    return RunKey(SimulationId(simulation), 1)


def keys(simulation: str, count: int) -> list[ModelKey]:
    return [key(f"m-{number}", simulation=simulation) for number in range(count)]


def ask(admission: Admission, simulation: str, count: int) -> list[ModelKey]:
    """A run of so many models arrives; who is let in at once."""
    admission.expect(run(simulation), count)
    let_in: list[ModelKey] = []
    for one in keys(simulation, count):
        admission.add(one)
        let_in += admission.admit()
    return let_in


def limited(limit: int | None, is_complete: Callable[[RunKey], bool] = lambda _: True) -> Admission:
    return Admission(limit, is_complete)


def test_without_a_limit_everybody_is_let_in() -> None:
    """In order of arrival."""
    admission = limited(None)
    assert ask(admission, "a", 3) == keys("a", 3)
    assert ask(admission, "b", 2) == keys("b", 2)
    assert (admission.active, admission.waiting) == (5, ())


def test_a_run_is_let_in_whole_or_not_at_all() -> None:
    """There is room for half of the second: it waits with all of its models until the first has made room for it."""
    admission = limited(5)
    ask(admission, "a", 3)
    assert ask(admission, "b", 4) == []
    (waiting,) = admission.waiting
    assert (waiting.run, waiting.models) == (run("b"), keys("b", 4))
    admission.ended(keys("a", 3)[0])
    assert admission.admit() == []
    admission.ended(keys("a", 3)[1])
    assert admission.admit() == keys("b", 4)
    assert (admission.active, admission.waiting) == (5, ())


def test_a_small_run_does_not_overtake_a_large_one() -> None:
    """Else a stream of small ones would keep the large one out for ever."""
    admission = limited(4)
    ask(admission, "a", 3)
    assert ask(admission, "b", 4) == []
    assert ask(admission, "c", 1) == []
    for one in keys("a", 3):
        admission.ended(one)
    assert admission.admit() == keys("b", 4)
    for one in keys("b", 4):
        admission.ended(one)
    assert admission.admit() == keys("c", 1)


def test_a_run_whose_request_is_not_complete_waits_and_holds_up_nobody() -> None:
    """How large it will be is not known; those behind it go ahead."""
    incomplete = {run("a")}
    admission = limited(4, lambda about: about not in incomplete)
    assert ask(admission, "a", 2) == []
    assert ask(admission, "b", 2) == keys("b", 2)
    incomplete.clear()
    late = key("late", simulation="a")
    admission.add(late)
    assert admission.admit() == []
    for one in keys("b", 2):
        admission.ended(one)
    assert admission.admit() == [*keys("a", 2), late]


def test_who_joins_a_run_that_is_in_needs_room_as_well() -> None:
    """It waits in line, on its own."""
    admission = limited(2)
    ask(admission, "a", 2)
    late = key("late", simulation="a")
    admission.add(late)
    assert admission.admit() == []
    admission.ended(keys("a", 2)[0])
    assert admission.admit() == [late]


def test_a_run_that_is_stopped_waits_no_longer() -> None:
    """Whoever stops it gets its models; those behind it are next."""
    admission = limited(2)
    ask(admission, "a", 2)
    ask(admission, "b", 2)
    ask(admission, "c", 2)
    assert admission.release(run("b")) == keys("b", 2)
    assert admission.release(run("b")) == []
    for one in keys("a", 2):
        admission.ended(one)
    assert admission.admit() == keys("c", 2)


def test_a_model_that_ends_while_it_waits_is_not_let_in() -> None:
    """It has been given up, and needs no room."""
    admission = limited(2)
    ask(admission, "a", 2)
    ask(admission, "b", 2)
    admission.ended(keys("b", 2)[0])
    for one in keys("a", 2):
        admission.ended(one)
    assert admission.admit() == keys("b", 2)[1:]


def test_what_was_found_running_takes_room() -> None:
    """Also more than there is."""
    admission = limited(2)
    admission.adopt(run("old"), keys("old", 3))
    assert ask(admission, "new", 1) == []
    for one in keys("old", 3)[:2]:
        admission.ended(one)
    assert admission.admit() == keys("new", 1)


def test_a_run_that_has_ended_is_forgotten() -> None:
    """A model that ended twice, or was never here, makes no room that is not there."""
    admission = limited(1)
    ask(admission, "a", 1)
    for one in (*keys("a", 1), *keys("a", 1), *keys("stranger", 1)):
        admission.ended(one)
    admission.forget(run("a"))
    assert ask(admission, "b", 1) == keys("b", 1)
    assert ask(admission, "c", 1) == []
