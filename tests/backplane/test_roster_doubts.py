"""The roster: doubts and how long they may last, and what is recalled of an attempt."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from mso.backplane import BackplaneError, Mark
from mso.backplane.pod_status import Patience
from mso.backplane.pods import marking
from mso.backplane.roster import LINGER_SECONDS, Limits, verdict
from mso.model import Failed, Reason, Succeeded
from tests.backplane.roster_desk import (
    BACKING_OFF,
    BAD_NAME,
    LIMITS,
    LINGERING,
    PULLING,
    RUNNING,
    SILENT,
    UNSCHEDULED,
    Desk,
)
from tests.backplane.seen import BEGAN, CREATED, NODE, over, pod
from tests.builders import NOW, attempt, model

VERDICT = Failed(-1, Reason.IMAGE_PULL_FAILED, "ErrImagePull: no route (image image:1)", node=NODE)


# -- patience ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("patience", "seconds"),
    ((Patience.NONE, 0), (Patience.IMAGE_PULL, 60), (Patience.PENDING, 300), (Patience.NODE, 30)),
)
def test_each_doubt_has_its_patience(patience: Patience, seconds: float) -> None:
    """As the operator set them."""
    assert LIMITS.of(patience) == seconds


@pytest.mark.parametrize(
    ("status", "node", "seconds", "reason"),
    (
        (BAD_NAME, "node-1", 0, Reason.IMAGE_PULL_FAILED),
        (PULLING, "node-1", 60, Reason.IMAGE_PULL_FAILED),
        (UNSCHEDULED, "", 300, Reason.UNSCHEDULABLE),
        (SILENT, "node-1", 30, Reason.NODE_LOST),
    ),
)
def test_a_doubt_is_due_after_its_patience(status: Any, node: str, seconds: float, reason: Reason) -> None:
    """Not a moment before; and then it says what has become of the model."""
    desk = Desk()
    desk.see(1, status, node=node)
    assert desk.roster.next_due == desk.time + seconds
    if seconds:
        assert desk.due_after(seconds - 0.1) == []
        desk.time = 1000.0
    assert desk.due_after(seconds) == [attempt()]
    assert verdict(desk.known()).reason is reason
    assert verdict(desk.known()).exit_code == -1


def test_a_doubt_is_due_once() -> None:
    """Until somebody asks to look again."""
    desk = Desk()
    desk.see(1, PULLING)
    assert (desk.due_after(60), desk.due_after(0)) == ([attempt()], [])
    desk.roster.look_again(desk.known(), 2)
    assert (desk.due_after(1.9), desk.due_after(0.2)) == ([], [attempt()])


def test_the_same_doubt_in_other_words_goes_on() -> None:
    """An image that cannot be pulled is tried again and again, under two names in turn (fault P3)."""
    desk = Desk()
    for version in range(1, 7):
        desk.see(version, PULLING if version % 2 else BACKING_OFF)
        assert desk.due_after(10 if version < 6 else 9.9) == []
    assert desk.due_after(0.2) == [attempt()]
    assert verdict(desk.known()).message == "ImagePullBackOff: later (image image:1)"


def test_a_doubt_that_passes_is_forgotten() -> None:
    """The image came after all (fault P3)."""
    desk = Desk()
    desk.see(1, PULLING)
    desk.time += 59
    desk.see(2, RUNNING)
    assert (desk.due_after(1000), desk.known().doubt) == ([], None)


def test_a_doubt_that_comes_back_begins_anew() -> None:
    """What went well in between counts."""
    desk = Desk()
    desk.see(1, PULLING)
    desk.see(2, RUNNING)
    desk.time += 50
    desk.see(3, PULLING)
    assert desk.due_after(10) == []
    assert desk.due_after(50) == [attempt()]


def test_another_doubt_has_a_patience_of_its_own() -> None:
    """Whether it is shorter or longer than that of the one before."""
    desk = Desk()
    desk.see(1, PULLING)
    desk.time += 10
    desk.see(2, BAD_NAME)
    assert desk.due_after(0) == [attempt()]
    desk.see(3, SILENT)
    assert desk.due_after(29.9) == []
    assert desk.due_after(0.1) == [attempt()]


def test_a_doubt_is_as_old_as_the_api_says() -> None:
    """A restart of ours does not give a pod that waits for a node its time again (fault P4)."""
    desk = Desk()
    created = (NOW - timedelta(seconds=200)).isoformat()
    desk.see(1, UNSCHEDULED, node="", creationTimestamp=created)
    assert desk.roster.next_due == desk.time + 100
    assert desk.due_after(100) == [attempt()]


def test_a_doubt_that_began_long_ago_is_due_at_once() -> None:
    """It is not lost for lying in the past."""
    desk = Desk()
    desk.see(1, UNSCHEDULED, node="", creationTimestamp="2026-01-01T00:00:00Z")
    assert desk.due_after(0) == [attempt()]


def test_a_deletion_that_its_node_does_not_carry_out_is_due_after_grace_and_patience() -> None:
    """It was to be over by then, and a while has passed since (fault P10)."""
    desk = Desk()
    due = datetime.fromisoformat(CREATED) + timedelta(seconds=30)
    desk.see(1, RUNNING, deletionTimestamp=due.isoformat(), deletionGracePeriodSeconds=30)
    assert desk.due_after(59.9) == []
    assert desk.due_after(0.2) == [attempt()]
    assert verdict(desk.known()).reason is Reason.NODE_LOST


@pytest.mark.parametrize("end", (over(0), over(1)))
def test_an_end_settles_every_doubt(end: Any) -> None:
    """Nothing that has ended is due."""
    desk = Desk()
    desk.see(1, PULLING)
    desk.see(2, end)
    assert (desk.due_after(1000), desk.known().doubt) == ([], None)


def test_what_is_gone_is_never_due() -> None:
    """Neither what was lost nor what another pod has taken the place of."""
    desk = Desk()
    desk.see(1, PULLING)
    desk.see(2, RUNNING, uid="uid-2")
    desk.see(1, PULLING, model("b"), uid="uid-b")
    desk.lose(2, PULLING, of=model("b"), uid="uid-b")
    assert desk.due_after(1000) == []


def test_more_is_due_in_the_order_in_which_it_became_so() -> None:
    """The earliest first."""
    desk = Desk()
    desk.see(1, PULLING, model("late"))
    desk.see(1, SILENT, model("early"), uid="uid-2")
    assert desk.due_after(100) == [attempt("early"), attempt("late")]


@pytest.mark.parametrize(
    ("status", "rings"), ((RUNNING, False), (over(0), False), (PULLING, True), (UNSCHEDULED, True), (LINGERING, True))
)
def test_the_alarm_is_called_when_something_will_be_due(status: Any, rings: bool) -> None:
    """Whoever sleeps until then has to hear of it."""
    desk = Desk()
    desk.see(1, status, node="")
    assert bool(desk.alarms) == rings
    assert (desk.roster.next_due is not None) == rings


# -- verdicts ---------------------------------------------------------------------------------------------------------


def test_a_verdict_is_how_it_ends_whatever_is_seen_of_the_deletion() -> None:
    """The pod is deleted before it is told, and what its last moments look like is our own doing (fault P4)."""
    for what_is_seen in (over(0), over(137), {"phase": "Failed", "reason": "Evicted"}):
        desk = Desk()
        entry = desk.see(1, PULLING)
        assert entry
        entry.condemned = verdict(entry)
        assert desk.see(2, what_is_seen) is entry
        assert entry.end == VERDICT


def test_a_verdict_is_how_it_ends_when_it_is_gone_at_once() -> None:
    """A pod that never had a node is gone the moment it is deleted."""
    desk = Desk()
    entry = desk.see(1, PULLING)
    assert entry
    entry.condemned = verdict(entry)
    assert desk.lose(2, over(0)) is entry
    assert entry.end == VERDICT


def test_what_is_settled_by_us_is_settled_once() -> None:
    """What was known to have ended keeps its end."""
    desk = Desk()
    entry = desk.see(1, SILENT)
    assert entry
    assert desk.roster.settle(entry, VERDICT)
    assert not desk.roster.settle(entry, Failed(1, Reason.ERROR))
    assert (entry.end, entry.doubt, desk.due_after(1000)) == (VERDICT, None, [])
    assert desk.see(2, over(0)) is None
    assert desk.lose(3, over(0)) is None
    assert entry.end == VERDICT


# -- lingering --------------------------------------------------------------------------------------------------------


def test_a_pod_that_goes_on_beside_its_ended_model_comes_due() -> None:
    """Its end is told at once; it is given time for its log to be read, and then it has to go (fault P9)."""
    desk = Desk()
    desk.see(1, RUNNING)
    entry = desk.see(2, LINGERING)
    assert entry
    assert isinstance(entry.end, Succeeded)
    desk.see(3, LINGERING)
    assert desk.due_after(LINGER_SECONDS - 0.1) == []
    assert desk.due_after(0.1) == [attempt()]


def test_a_pod_whose_sidecar_ended_in_time_is_not_due() -> None:
    """It stays, for its log."""
    desk = Desk()
    desk.see(1, LINGERING)
    desk.see(2, over(0))
    assert desk.due_after(1000) == []
    assert not desk.known().lingers


# -- what is recalled -------------------------------------------------------------------------------------------------


def marked(*marks: Mark) -> dict[str, Any]:
    """The annotations of these marks, beside those of the model."""
    annotations = dict(pod()["metadata"]["annotations"])
    for mark in marks:
        annotations |= marking(mark)["metadata"]["annotations"]
    return {"annotations": annotations}


def test_an_observation_brings_back_the_model() -> None:
    """As it was asked for, and how it ended."""
    desk = Desk()
    wanted = model(attempt=3)
    entry = desk.see(1, over(0), wanted)
    assert entry
    seen = desk.roster.observe(entry)
    assert (seen.attempt, seen.end) == (wanted.current, entry.end)
    assert (seen.recall().model, seen.recall().marks) == (wanted, frozenset())


def test_the_marks_of_a_run_are_those_of_all_its_pods() -> None:
    """A mark is written on one of them, whichever; that of another run is none of it."""
    desk = Desk()
    for number, mark in enumerate((Mark.READY, Mark.STOPPING, None)):
        made = pod(model(f"m-{number}"), uid=f"uid-{number}")
        made["metadata"]["annotations"] |= marking(mark)["metadata"]["annotations"] if mark else {}
        desk.roster.see(made)
    other = pod(model("m-0", run=2), uid="uid-other")
    other["metadata"]["annotations"] |= marking(Mark.REPORTED)["metadata"]["annotations"]
    desk.roster.see(other)
    for entry in desk.roster.entries():
        expected = {Mark.READY, Mark.STOPPING} if entry.attempt.key.run == 1 else {Mark.REPORTED}
        assert desk.roster.observe(entry).recall().marks == expected


def test_a_mark_that_is_seen_later_is_recalled() -> None:
    """It is no news, and yet it is known from then on."""
    desk = Desk()
    desk.see(1)
    observation = desk.roster.observe(desk.known())
    assert desk.see(2, **marked(Mark.READY)) is None
    assert observation.recall().marks == {Mark.READY}
    assert desk.see(3) is None
    assert observation.recall().marks == {Mark.READY}


@pytest.mark.parametrize("text", ("", "{}", "no JSON"))
def test_what_cannot_be_recalled_is_said(text: str) -> None:
    """Somebody has touched the annotations: the pod is named, and what stands there is not told."""
    desk = Desk()
    made = pod()
    made["metadata"]["annotations"]["mso/model"] = text
    entry = desk.roster.see(made)
    assert entry
    with pytest.raises(BackplaneError, match=made["metadata"]["name"]):
        desk.roster.observe(entry).recall()


def test_an_entry_shows_no_environment() -> None:
    """What is kept to recall the model holds its variables, which may be secrets (fault B4)."""
    desk = Desk(Limits())
    entry = desk.see(1)
    assert "MODEL_ID" in str(entry and entry.recollection)
    assert "MODEL_ID" not in repr(entry)
    assert BEGAN not in repr(desk.roster)
