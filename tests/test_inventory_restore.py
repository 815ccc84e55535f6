"""What an earlier process wrote down is known again; and the Changes that are there for the sake of the ledger."""

from datetime import timedelta
from typing import Any

import pytest

from mso.changes import (
    ModelAdded,
    ModelChanged,
    ModelRemoved,
    SimulationAdded,
    SimulationEnded,
    SimulationExtended,
    SimulationForgotten,
    SimulationReady,
    SimulationRemoving,
    SimulationReported,
    SimulationRestored,
)
from mso.inventory import Inventory, Rejected
from mso.model import FailurePolicy, Mark, ModelId, Ready, RunKey, SimulationId, State, Succeeded
from tests.builders import (
    NOW,
    RUN,
    SIM,
    Clock,
    attempt,
    crash,
    key,
    known,
    model,
    order,
    request,
    run_of,
    spec,
)
from tests.observer import Told

READY: dict[str, Any] = {"state": State.RUNNING, "ready": True}
ENDED: dict[str, Any] = {"state": State.SUCCEEDED, "ready": True, "exit_code": 0, "finished_at": NOW}


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def inventory(clock: Clock) -> Inventory:
    return Inventory(now=clock)


@pytest.fixture
def told(inventory: Inventory) -> Told:
    return Told(inventory)


# -- restoring --------------------------------------------------------------------------------------------------------


def test_a_run_is_restored_as_it_was_written_down(inventory: Inventory, told: Told) -> None:
    """Nothing of it is news, whatever it had come to: only that it is known again is told."""
    run = run_of(model("a", **READY), model("b", **ENDED), model("c"))
    inventory.restore(run)
    assert told == [SimulationRestored(RUN, request(), 3, 2)]
    assert inventory.run(RUN) is inventory.newest_run(SIM) is run
    assert (run.living, run.unready) == ({ModelId("a"), ModelId("c")}, {ModelId("c")})
    assert not inventory.is_new(RUN)


def test_a_restored_run_goes_on(inventory: Inventory, told: Told) -> None:
    """It is ready when the last of it is, and has ended when the last of it has."""
    inventory.restore(run_of(model("a", **READY), model("b")))
    inventory.apply(attempt("b"), Ready())
    for name in ("a", "b"):
        inventory.apply(attempt(name), Succeeded(finished_at=NOW))
    assert [change for change in told if not isinstance(change, ModelChanged)] == [
        SimulationRestored(RUN, request(), 2, 2),
        SimulationReady(RUN, request()),
        SimulationEnded(RUN, request(), NOW),
    ]


def test_a_restored_run_is_announced_once(inventory: Inventory, told: Told) -> None:
    """By an earlier process, if it was."""
    inventory.restore(run_of(model("a"), announced=True))
    inventory.apply(attempt("a"), Ready())
    assert told.kinds == ["SimulationRestored", "ModelChanged"]


def test_a_failure_before_is_a_failure_still(inventory: Inventory, told: Told) -> None:
    """Where one has FAILED, the others being ready is no SimulationReady."""
    inventory.restore(run_of(model("a", state=State.FAILED, ready=True, exit_code=1), model("b")))
    inventory.apply(attempt("b"), Ready())
    assert told.kinds == ["SimulationRestored", "ModelChanged"]


def test_a_restored_run_that_is_stopping_is_told_of_as_no_news(inventory: Inventory, told: Told) -> None:
    """It retries nothing and takes no models."""
    inventory.restore(run_of(model("a", spec=spec("a", retries=1)), model("b"), stopping=True))
    inventory.stop(RUN, "again")
    assert told.kinds == ["SimulationRestored"]
    assert inventory.apply(attempt("a"), crash()).state is State.FAILED
    with pytest.raises(Rejected, match="being stopped"):
        inventory.add(order("c", digest="digest-2"))


def test_an_order_joins_a_restored_run(inventory: Inventory, told: Told) -> None:
    """As if nothing had been killed; what it asked for before changes nothing."""
    inventory.restore(run_of(model("a")))
    assert inventory.add(order("a")) is None
    assert inventory.add(order("b", digest="digest-2")) == RUN
    assert told.kinds == ["SimulationRestored", "SimulationExtended", "ModelAdded"]
    with pytest.raises(Rejected, match="another specification"):
        inventory.add(order(spec("a", "other:1"), digest="digest-3"))


def test_after_a_restored_run_that_has_ended_the_next_one_is_opened(inventory: Inventory) -> None:
    """But not by a redelivery of what opened it, nor by a request that it took."""
    inventory.restore(run_of(model("a", **ENDED), request=request(request_id="r-1"), ended_at=NOW))
    assert inventory.add(order("a", redelivered=True)) is None
    assert inventory.add(order("a", request_id="r-1", digest="digest-2")) is None
    assert inventory.add(order("a")) == RunKey(SIM, 2)


@pytest.mark.parametrize("numbers", ((1, 2), (2, 1)))
def test_the_last_run_is_the_one_with_the_highest_number(inventory: Inventory, numbers: tuple[int, int]) -> None:
    """In whichever order they are restored: only its requests tell a redelivery."""
    for number in numbers:
        asked = request(digest=f"digest-{number}")
        inventory.restore(run_of(model("a", number, request=asked, **ENDED), number=number, ended_at=NOW))
    newest = inventory.newest_run(SIM)
    assert newest
    assert newest.key.run == 2
    assert inventory.add(order("a", digest="digest-2", redelivered=True)) is None
    assert inventory.add(order("a", digest="digest-1", redelivered=True)) == RunKey(SIM, 3)


def test_a_run_is_restored_once(inventory: Inventory, told: Told) -> None:
    """Two of one number would be two truths."""
    inventory.restore(run_of(model("a")))
    with pytest.raises(ValueError, match="known already"):
        inventory.restore(run_of(model("b")))
    assert told.kinds == ["SimulationRestored"]
    assert inventory.model(key("b")) is None


def test_a_restored_run_is_not_adopted(inventory: Inventory) -> None:
    """What is found of it where models run is what is known of it."""
    inventory.restore(run_of(model("a")))
    with pytest.raises(ValueError, match="known already"):
        inventory.adopt(RUN, [(model("a"), None)], frozenset())


# -- remembering ------------------------------------------------------------------------------------------------------


def test_of_a_bygone_run_only_how_it_was_asked_for_is_remembered(inventory: Inventory, told: Told) -> None:
    """It is no run any more, and no news; a redelivery of it opens none, and a rerun has the next number."""
    inventory.remember(run_of(number=3, request=request(request_id="r-1")))
    assert told == []
    assert list(inventory.runs()) == []
    assert inventory.newest_run(SIM) is None
    assert not inventory.is_new(RunKey(SIM, 3))
    assert inventory.add(order("a", redelivered=True)) is None
    assert inventory.add(order("a", request_id="r-1")) is None
    assert inventory.add(order("a")) == RunKey(SIM, 4)


def test_a_bygone_run_may_be_followed_by_one_that_is_kept(inventory: Inventory) -> None:
    """The logs of an earlier run may be kept for longer than those of the last, whose number is not given again."""
    inventory.remember(run_of(number=2, request=request(digest="digest-2")))
    inventory.restore(run_of(model("a", **ENDED), ended_at=NOW))
    assert inventory.add(order("a", digest="digest-2", redelivered=True)) is None
    assert inventory.add(order("a")) == RunKey(SIM, 3)


def test_what_is_kept_is_never_forgotten_to_save_memory(inventory: Inventory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A simulation of which a run is left is not among the bygone ones, whichever of its runs is."""
    monkeypatch.setattr("mso.inventory.REMEMBERED_SIMULATIONS", 1)
    inventory.remember(run_of(number=2))
    inventory.restore(run_of(model("a")))
    for name in ("sim-2", "sim-3", "sim-4"):
        inventory.restore(run_of(model("a", simulation=name, **ENDED), simulation=name, ended_at=NOW))
        inventory.forget(RunKey(SimulationId(name), 1))
    assert inventory.apply(attempt("a"), Ready()).state is State.RUNNING


# -- what the ledger has to be told -----------------------------------------------------------------------------------


def test_a_further_request_of_a_live_run_is_told(inventory: Inventory, told: Told) -> None:
    """Before the models that it adds, and with its own terms, which are those of the run from then on."""
    inventory.add(order("a"))
    told.clear()
    further = request(digest="digest-2", keep_logs=timedelta(hours=1))
    inventory.add(order("a", "b", digest="digest-2", keep_logs=timedelta(hours=1)))
    assert told[0] == SimulationExtended(RUN, further)
    assert told.kinds == ["SimulationExtended", "ModelAdded"]
    run = inventory.run(RUN)
    assert run
    assert run.request == further


def test_what_a_run_took_before_extends_nothing(inventory: Inventory, told: Told) -> None:
    """The request that opened it, and any that was said again, redelivered or not."""
    inventory.add(order("a"))
    inventory.add(order("b", digest="digest-2"))
    told.clear()
    for digest in ("digest-1", "digest-2"):
        for redelivered in (False, True):
            assert inventory.add(order("a", digest=digest, redelivered=redelivered)) is None
    assert told == []


def test_a_request_that_opens_a_run_extends_none(inventory: Inventory, told: Told) -> None:
    """It is told with that."""
    inventory.add(order("a"))
    assert told == [SimulationAdded(RUN, request(), 1), ModelAdded(known(inventory, key("a")))]


def test_the_end_of_the_grace_is_told_once(inventory: Inventory, told: Told) -> None:
    """Of a run that is to end, and of no other."""
    inventory.add(order("a"))
    inventory.begin_removal(RUN)
    inventory.begin_removal(RunKey(SIM, 7))
    assert SimulationRemoving(RUN) not in told
    inventory.stop(RUN, "why")
    inventory.begin_removal(RUN)
    inventory.begin_removal(RUN)
    assert [change for change in told if isinstance(change, SimulationRemoving)] == [SimulationRemoving(RUN)]


def test_that_all_was_told_of_a_run_is_told_once(inventory: Inventory, told: Told, clock: Clock) -> None:
    """With the time of that, and never of a run that has not ended, or is not known."""
    inventory.add(order("a"))
    inventory.reported(RUN)
    inventory.reported(RunKey(SIM, 7))
    inventory.apply(attempt("a"), Succeeded())
    told.clear()
    later = clock.move(60)
    inventory.reported(RUN)
    clock.move(60)
    inventory.reported(RUN)
    assert told == [SimulationReported(RUN)]
    run = inventory.run(RUN)
    assert run
    assert run.reported_at == later
    inventory.forget(RUN)
    inventory.reported(RUN)
    assert told.kinds == ["SimulationReported", "ModelRemoved", "SimulationForgotten"]


def test_a_run_that_was_adopted_as_reported_is_reported(inventory: Inventory, told: Told) -> None:
    """At its end, for all that is known; nobody has to say so again."""
    inventory.adopt(RUN, [(model("a"), Succeeded(finished_at=NOW))], frozenset({Mark.REPORTED}))
    run = inventory.run(RUN)
    assert run
    assert run.reported_at == run.ended_at == NOW
    inventory.reported(RUN)
    assert told.kinds == ["SimulationAdopted"]


def test_a_run_of_which_nothing_is_left_is_told_behind_its_models(inventory: Inventory, told: Told) -> None:
    """Once, and only if it was known."""
    inventory.add(order("a", "b", failure_policy=FailurePolicy.STOP_ALL))
    for name in ("a", "b"):
        inventory.apply(attempt(name), Succeeded())
    told.clear()
    for run in (RUN, RUN, RunKey(SIM, 7)):
        inventory.forget(run)
    assert told.kinds == ["ModelRemoved", "ModelRemoved", "SimulationForgotten"]
    assert told[-1] == SimulationForgotten(RUN)
    assert isinstance(told[0], ModelRemoved)
