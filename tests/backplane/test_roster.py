"""The roster: what is known of our pods, in whatever order it is learned."""

import pytest

from mso.backplane.pods import marking
from mso.backplane.roster import Limits, Roster
from mso.model import Failed, Mark, Reason, RunKey, Succeeded
from tests.backplane.roster_desk import PULLING, RUNNING, SILENT, UNSCHEDULED, Desk
from tests.backplane.seen import over, pod
from tests.builders import RUN, attempt, model

# -- what is news -----------------------------------------------------------------------------------------------------


def test_a_pod_is_news_once() -> None:
    """Shown again, it is not; nor when something changes that is no end."""
    desk = Desk()
    first = desk.see(1, UNSCHEDULED, node="")
    assert first is desk.known()
    assert [desk.see(version, status) for version, status in ((1, None), (2, PULLING), (3, RUNNING))] == [None] * 3
    assert (len(desk.roster), list(desk.roster.entries())) == (1, [first])


def test_an_end_is_news_once() -> None:
    """However often it is shown."""
    desk = Desk()
    desk.see(1)
    news = [desk.see(version, over(3)) for version in (2, 2, 3)]
    assert [bool(entry) for entry in news] == [True, False, False]
    assert isinstance(desk.end, Failed)
    assert desk.end.exit_code == 3


def test_a_pod_that_is_found_ended_is_news() -> None:
    """It ended while nobody looked."""
    entry = Desk().see(1, over(0))
    assert entry
    assert isinstance(entry.end, Succeeded)


def test_the_first_end_that_was_seen_is_the_truth() -> None:
    """What the cluster writes into the status of a pod later on does not change it (fault K9)."""
    desk = Desk()
    desk.see(1, over(0))
    for version, status in ((2, over(1)), (3, RUNNING), (4, SILENT), (5, {"phase": "Failed", "reason": "NodeLost"})):
        assert desk.see(version, status) is None
    assert isinstance(desk.end, Succeeded)


def test_a_pod_that_is_not_ours_is_no_news() -> None:
    """It is not known, and its loss is none (fault K8)."""
    desk = Desk()
    foreign = pod(version="1")
    foreign["metadata"]["annotations"] = None
    copy = pod(version="1")
    copy["metadata"]["name"] += "-debug"
    for other in (foreign, copy):
        assert desk.roster.see(other) is None
        assert desk.roster.lose(other) is None
    assert len(desk.roster) == 0


# -- old and new ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", (1, 6, 7))
def test_what_is_older_than_what_is_known_changes_nothing(version: int) -> None:
    """Versions are numbers: 10 is newer than 7, and the order of arrival says nothing (fault K9)."""
    desk = Desk()
    desk.see(7, PULLING)
    assert desk.see(version, over(1)) is None
    assert desk.end is None
    assert desk.known().doubt
    assert desk.see(10, over(1))


def test_a_pod_that_was_lost_does_not_come_back_from_an_older_listing() -> None:
    """A listing that was on its way when the pod was deleted shows it as it was (fault K9)."""
    desk = Desk()
    desk.see(10)
    assert desk.lose(12)
    assert desk.see(10) is None
    assert desk.roster.listed("11", ["uid-1"]) == frozenset()
    assert desk.roster.get(attempt()) is None


def test_a_pod_that_ended_and_was_lost_does_not_come_back() -> None:
    """What is over once is never alive again, whatever old listing says so (fault K9)."""
    desk = Desk()
    desk.see(10)
    desk.see(11, over(0))
    desk.lose(12, over(0))
    assert desk.see(10) is None
    assert desk.see(11, over(0)) is None


def test_a_pod_that_was_struck_does_not_come_back_from_an_older_listing() -> None:
    """It was missing from a whole listing; what an earlier one says of it is past (fault K9)."""
    desk = Desk()
    desk.see(10)
    desk.roster.listed("20", [])
    assert desk.see(10) is None
    assert desk.roster.listed("15", ["uid-1"]) == frozenset()


def test_a_new_pod_takes_the_place_of_an_old_one() -> None:
    """It has the name of the attempt, and is another pod: it begins anew, and is news."""
    desk = Desk()
    old = desk.see(1, over(1))
    new = desk.see(5, RUNNING, uid="uid-2")
    assert new
    assert new is not old
    assert (new.end, new.uid, len(desk.roster), desk.roster.of_run(RUN)) == (None, "uid-2", 1, [new])


def test_the_loss_of_an_old_pod_is_not_that_of_the_new_one() -> None:
    """The uid tells them apart, late as the word of it may come."""
    desk = Desk()
    desk.see(1)
    desk.see(5, uid="uid-2")
    assert desk.lose(4) is None
    assert desk.see(3) is None
    assert desk.known().uid == "uid-2"


@pytest.mark.parametrize("versions", (("a", "b", "c"), ("z", "y", "x"), ("", "", "")))
def test_versions_that_are_no_numbers_count_as_they_come(versions: tuple[str, ...]) -> None:
    """The last that was shown is the newest, and a listing shows all that there is."""
    desk = Desk()
    one, two, three = versions
    assert desk.see(one)
    assert desk.see(two, PULLING) is None
    assert desk.known().doubt
    assert desk.see(three, over(0))
    assert desk.roster.listed("any", ["uid-1"]) == {attempt()}
    assert desk.roster.listed("any", []) == frozenset()


def test_what_there_is_to_learn_of_a_version() -> None:
    """Nothing of one that is known, or older, or gone; so nobody reads it (fault K6)."""
    desk = Desk()
    desk.see(7)
    desk.see(3, of=model("gone"), uid="gone")
    desk.lose(4, uid="gone")
    knows = desk.roster.knows
    assert [knows("uid-1", version) for version in ("6", "7", "8", "10", "x")] == [True, True, False, False, False]
    assert (knows("gone", "3"), knows("unheard-of", "3")) == (True, False)


def test_a_version_that_is_no_number_is_known_if_it_is_the_last() -> None:
    """Older and newer cannot be told from each other then."""
    desk = Desk()
    for version in ("x", "a"):
        desk.see(version)
    assert [desk.roster.knows("uid-1", version) for version in ("a", "x", "b", "")] == [True, False, False, False]


def test_a_pod_that_loses_its_annotations_is_still_followed() -> None:
    """Whose it is was known from the first; somebody tidied up."""
    desk = Desk()
    entry = desk.see(1)
    bare = pod(version="2", status=over(3))
    bare["metadata"]["annotations"] = None
    assert desk.roster.see(bare) is entry
    assert isinstance(desk.end, Failed)


# -- what is gone -----------------------------------------------------------------------------------------------------


def test_a_pod_that_is_lost_while_it_runs_has_failed() -> None:
    """It is told with the entry, and forgotten (fault P1)."""
    desk = Desk()
    entry = desk.see(1)
    lost = desk.lose(2)
    assert lost is entry
    assert lost
    assert isinstance(lost.end, Failed)
    assert lost.end.reason is Reason.POD_DELETED
    assert (desk.roster.get(attempt()), len(desk.roster), desk.roster.of_run(RUN)) == (None, 0, [])


def test_the_last_that_is_seen_of_a_lost_pod_counts() -> None:
    """Its end may come with the word that it is gone."""
    desk = Desk()
    desk.see(1)
    lost = desk.lose(2, over(0))
    assert lost
    assert isinstance(lost.end, Succeeded)


def test_the_loss_of_a_pod_that_had_ended_is_no_news() -> None:
    """A model that succeeded and was then removed stays succeeded."""
    desk = Desk()
    entry = desk.see(1, over(0))
    assert desk.lose(2, over(0)) is None
    assert entry
    assert isinstance(entry.end, Succeeded)
    assert len(desk.roster) == 0


def test_the_loss_of_a_pod_that_nobody_knew_is_no_news() -> None:
    """It came and went between two looks; a listing will not have it."""
    assert Desk().lose(2) is None


def test_a_listing_strikes_what_is_not_in_it() -> None:
    """All that is left is told; what is gone is missing."""
    desk = Desk()
    for name in "abc":
        desk.see(1, of=model(name), uid=f"uid-{name}")
    assert desk.roster.listed("5", ["uid-a", "uid-c", "uid-foreign"]) == {attempt("a"), attempt("c")}
    assert {entry.attempt for entry in desk.roster.entries()} == {attempt("a"), attempt("c")}
    assert {entry.attempt for entry in desk.roster.of_run(RUN)} == {attempt("a"), attempt("c")}


@pytest.mark.parametrize(("version", "is_there"), ((4, True), (9, True), (10, False), (11, False)))
def test_a_listing_says_nothing_of_what_is_newer(version: int, is_there: bool) -> None:
    """A pod that was created after it counts as there (fault K9)."""
    desk = Desk()
    desk.see(10)
    assert desk.roster.listed(str(version), []) == ({attempt()} if is_there else frozenset())
    assert bool(desk.roster.get(attempt())) == is_there


def test_a_listing_that_knows_the_old_pod_only_keeps_the_new_one() -> None:
    """The new one came after it."""
    desk = Desk()
    desk.see(10, uid="uid-2")
    assert desk.roster.listed("8", ["uid-1"]) == {attempt()}


def test_runs_and_attempts_are_kept_apart() -> None:
    """What is of a run is of that run."""
    desk = Desk()
    those = (model("a"), model("a", attempt=2), model("a", run=2), model("b", simulation="sim-2"))
    for one in those:
        desk.see(1, of=one, uid=str(one.current))
    assert {entry.attempt for entry in desk.roster.of_run(RUN)} == {attempt("a"), attempt("a", 2)}
    assert len(desk.roster) == 4


def test_a_mark_goes_with_the_pod_that_carries_it_and_is_asked_for_again() -> None:
    """Where others of the run stay and none of them has it; a run of which all is gone needs none."""
    asked: list[tuple[RunKey, Mark]] = []
    roster = Roster(Limits(), bereaved=lambda run, mark: asked.append((run, mark)))
    marked = marking(Mark.READY)["metadata"]["annotations"]
    first, second = pod(model("a"), uid="1", version="1"), pod(model("b"), uid="2", version="2")
    first["metadata"]["annotations"] |= marked
    for one in (first, second):
        roster.see(one)
    roster.lose(first)
    assert asked == [(RUN, Mark.READY)]
    second["metadata"]["annotations"] |= marked
    second["metadata"]["resourceVersion"] = "5"
    roster.see(second)
    roster.lose(second)
    assert len(asked) == 1
