"""A rerun has the same bytes as the run before: the packet identifier tells it from what the broker delivers again."""

import pytest

from mso.changes import Change, SimulationAdded, SimulationExtended
from mso.inventory import Inventory
from mso.model import ModelId, RunKey, State, Succeeded
from tests.builders import NOW, RUN, SIM, attempt, model, order, request, run_of

SECOND_RUN = RunKey(SIM, 2)
ENDED = model("a", state=State.SUCCEEDED, exit_code=0)


@pytest.fixture
def inventory() -> Inventory:
    return Inventory(now=lambda: NOW)


@pytest.fixture
def told(inventory: Inventory) -> list[Change]:
    told: list[Change] = []
    inventory.subscribe(told.append)
    return told


def end(inventory: Inventory, run: int = 1) -> None:
    inventory.apply(attempt("a", run=run), Succeeded())


# -- in one process ---------------------------------------------------------------------------------------------------


def test_what_is_delivered_again_under_its_identifier_was_taken(inventory: Inventory) -> None:
    """After the end, and once nothing is left of the run."""
    inventory.add(order("a", delivery=7))
    end(inventory)
    assert inventory.add(order("a", redelivered=True, delivery=7)) is None
    inventory.forget(RUN)
    assert inventory.add(order("a", redelivered=True, delivery=7)) is None


def test_what_is_delivered_again_under_another_identifier_is_a_rerun(inventory: Inventory) -> None:
    """It was delivered to somebody who died before it was taken: only the broker can say so, the bytes cannot."""
    inventory.add(order("a", delivery=7))
    end(inventory)
    assert inventory.add(order("a", redelivered=True, delivery=8)) == SECOND_RUN


def test_an_identifier_is_that_of_its_bytes(inventory: Inventory) -> None:
    """It is given again to other messages."""
    inventory.add(order("a", delivery=7))
    inventory.add(order("b", digest="digest-2", delivery=8))
    end(inventory)
    inventory.apply(attempt("b"), Succeeded())
    assert inventory.add(order("a", redelivered=True, delivery=8)) == SECOND_RUN


def test_what_was_never_delivered_before_is_a_rerun(inventory: Inventory) -> None:
    """An identifier comes again when it is free, and then says nothing."""
    inventory.add(order("a", delivery=7))
    end(inventory)
    assert inventory.add(order("a", delivery=7)) == SECOND_RUN


@pytest.mark.parametrize(("before", "then"), ((0, 0), (0, 7), (7, 0)))
def test_without_an_identifier_the_bytes_decide(inventory: Inventory, before: int, then: int) -> None:
    """Where the second delivery has none, it is taken for what it looks like; one that has it is none without it."""
    inventory.add(order("a", delivery=before))
    end(inventory)
    taken = inventory.add(order("a", redelivered=True, delivery=then))
    assert taken == (SECOND_RUN if then else None)


def test_every_delivery_to_a_live_run_counts(inventory: Inventory, told: list[Change]) -> None:
    """What changed nothing was taken all the same: it is written down, and opens no run after the end."""
    assert inventory.add(order("a", delivery=7)) == RUN
    told.clear()
    for redelivered in (False, True):
        assert inventory.add(order("a", redelivered=redelivered, delivery=8)) is None
    assert told == [SimulationExtended(RUN, request(), 8, again=True)]
    end(inventory)
    assert inventory.add(order("a", redelivered=True, delivery=8)) is None


def test_a_delivery_that_comes_while_the_run_is_being_stopped_counts(inventory: Inventory, told: list[Change]) -> None:
    """It is none of the next run's."""
    inventory.add(order("a", delivery=7))
    inventory.stop(RUN, "why")
    told.clear()
    assert inventory.add(order("a", redelivered=True, delivery=8)) is None
    assert told == [SimulationExtended(RUN, request(), 8, again=True)]
    end(inventory)
    assert inventory.add(order("a", redelivered=True, delivery=8)) is None


def test_deliveries_are_told_with_what_they_brought(inventory: Inventory, told: list[Change]) -> None:
    """For the ledger."""
    inventory.add(order("a", delivery=7))
    inventory.add(order("b", digest="digest-2", delivery=8))
    assert told[0] == SimulationAdded(RUN, request(), 1, 7)
    assert [change for change in told if isinstance(change, SimulationExtended)] == [
        SimulationExtended(RUN, request(digest="digest-2"), 8)
    ]


# -- in the next process ----------------------------------------------------------------------------------------------


def test_the_deliveries_of_a_run_that_had_ended_are_known(inventory: Inventory) -> None:
    """No other process took any for it."""
    inventory.restore(run_of(ENDED, ended_at=NOW, deliveries={("digest-1", 7)}))
    assert inventory.add(order("a", redelivered=True, delivery=7)) is None
    assert inventory.add(order("a", redelivered=True, delivery=8)) == SECOND_RUN


def test_the_deliveries_of_a_bygone_run_are_known(inventory: Inventory) -> None:
    """As long as the run is remembered."""
    inventory.remember(run_of(ended_at=NOW, deliveries={("digest-1", 7)}))
    assert inventory.add(order("a", redelivered=True, delivery=7)) is None
    assert inventory.add(order("a", redelivered=True, delivery=8)) == SECOND_RUN


@pytest.mark.parametrize("delivery", (7, 8))
def test_of_a_run_that_lived_not_every_delivery_is_known(inventory: Inventory, delivery: int) -> None:
    """The process that died may have taken one more and not written it down: rather no rerun than a run twice."""
    inventory.restore(run_of(model("a"), deliveries={("digest-1", 7)}))
    end(inventory)
    assert inventory.add(order("a", redelivered=True, delivery=delivery)) is None
    inventory.forget(RUN)
    assert inventory.add(order("a", redelivered=True, delivery=delivery)) is None


def test_of_an_adopted_run_no_delivery_is_known(inventory: Inventory) -> None:
    """Where models run nobody writes that down."""
    inventory.adopt(RUN, [(model("a"), Succeeded())], frozenset())
    assert inventory.add(order("a", redelivered=True, delivery=7)) is None


def test_doubts_about_a_run_are_none_about_the_next(inventory: Inventory) -> None:
    """This process opened it, and knows what it took."""
    inventory.restore(run_of(model("a")))
    end(inventory)
    assert inventory.add(order("a", delivery=7)) == SECOND_RUN
    end(inventory, 2)
    assert inventory.add(order("a", redelivered=True, delivery=8)) == RunKey(SIM, 3)


def test_the_requests_of_any_run_are_known(inventory: Inventory) -> None:
    """Those of runs of which nothing else is remembered too; of an unknown simulation there is nothing to know."""
    inventory.restore(run_of(ENDED, ended_at=NOW))
    inventory.remember_request(RUN, "r-1", "digest-1", 1)
    inventory.remember_request(RUN, "r-2", "digest-2", 2)
    inventory.remember_request(RunKey(request("other").simulation, 1), "r-1", "digest-1", 1)
    assert inventory.add(order("a", request_id="r-2")) is None
    assert inventory.add(order("a", request_id="r-3")) == SECOND_RUN
    assert inventory.add(order("a", simulation="other", request_id="r-1"))


def test_what_an_earlier_run_took_does_not_join_a_later_one(inventory: Inventory) -> None:
    """The broker delivers it once more while the next run lives, for its acknowledgement was lost: it is long over."""
    inventory.add(order("a", delivery=7))
    end(inventory)
    inventory.add(order("a", "b", digest="digest-2", delivery=8))
    assert inventory.add(order("a", "c", digest="digest-1", more_to_come=True, redelivered=True, delivery=7)) is None
    run = inventory.run(SECOND_RUN)
    assert run
    assert (set(run.models), run.request.more_to_come) == ({ModelId("a"), ModelId("b")}, False)


def test_what_an_earlier_run_took_is_known_to_another_process(inventory: Inventory) -> None:
    """From the ledger, which remembers it however much came after."""
    inventory.restore(run_of(model("a", run=2), number=2, deliveries={("digest-2", 8)}))
    inventory.remember_request(RUN, "", "digest-1", 7)
    inventory.remember_request(SECOND_RUN, "", "digest-2", 8)
    assert inventory.add(order("c", digest="digest-1", redelivered=True, delivery=7)) is None
    assert inventory.add(order("c", digest="digest-1", redelivered=True, delivery=9)) == SECOND_RUN


def test_a_request_of_an_earlier_run_does_not_join_a_later_one(inventory: Inventory) -> None:
    """Its sender says it once more, and by its id it is known to be over."""
    inventory.add(order("a", request_id="r-1"))
    end(inventory)
    inventory.add(order("b", digest="digest-2", request_id="r-2"))
    assert inventory.add(order("a", request_id="r-1")) is None
    run = inventory.run(SECOND_RUN)
    assert run
    assert set(run.models) == {ModelId("b")}
