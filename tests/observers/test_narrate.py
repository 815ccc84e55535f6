"""The story of a simulation in the log: which event, on which level, with which keys (docs/configuration.md)."""

from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from mso.inventory import Inventory
from mso.model import Failed, Mark, Model, Ready, Reason, State, Succeeded
from mso.observers.narrate import narrate
from tests.builders import RUN, SIM, SO, attempt, crash, model, order, run_of, spec

Told = list[Any]

OF_THE_RUN = {"simulation": SIM, "run": 1}
OF_THE_MODEL = {"simulation": SIM, "run": 1, "model": "m-0"}


def event(name: str, level: str, **keys: object) -> dict[str, object]:
    return {"event": name, "log_level": level, **keys}


@pytest.fixture
def told() -> Iterator[Told]:
    """What was told since it was last cleared, on whichever level."""
    structlog.reset_defaults()
    with capture_logs() as logs:
        yield logs


@pytest.fixture
def inventory(told: Told) -> Inventory:
    """One that is narrated."""
    inventory = Inventory()
    inventory.subscribe(narrate)
    return inventory


@pytest.fixture
def running(inventory: Inventory, told: Told) -> Inventory:
    """One model has been asked for, and that has been told."""
    inventory.add(order(spec(retries=1)))
    told.clear()
    return inventory


def test_an_order_is_told_with_how_many_models_it_asks_for(inventory: Inventory, told: Told) -> None:
    """There may be thousands: each of them is told of when it is deployed."""
    inventory.add(order(spec("a", "image:1"), spec("b", "image:2")))
    assert told == [
        event("simulation.added", "info", **OF_THE_RUN, simulator=SO, models=2),
    ]


def test_a_model_that_is_ready_is_told_and_so_is_its_simulation(running: Inventory, told: Told) -> None:
    """The state before and the state now."""
    running.apply(attempt(), Ready())
    assert told == [
        event("model.state_changed", "info", **OF_THE_MODEL, was="created", now="running"),
        event("simulation.ready", "info", **OF_THE_RUN),
    ]


def test_the_end_of_a_model_is_told_with_its_exit_code(running: Inventory, told: Told) -> None:
    """And that of its simulation after it."""
    running.apply(attempt(), Succeeded())
    assert told == [
        event("model.state_changed", "info", **OF_THE_MODEL, was="created", now="succeeded", exit_code=0),
        event("simulation.ended", "info", **OF_THE_RUN),
    ]


def test_a_retry_is_told_with_the_failure_that_it_follows(running: Inventory, told: Told) -> None:
    """And with the number of the attempt that comes; the last failure is an end like any other."""
    running.apply(attempt(), crash(137, Reason.OOM_KILLED, message="out of memory"))
    running.apply(attempt(number=2), crash(3))
    assert told == [
        event(
            "model.retried",
            "warning",
            **OF_THE_MODEL,
            attempt=2,
            exit_code=137,
            reason="OOMKilled",
            message="out of memory",
        ),
        event("model.state_changed", "info", **OF_THE_MODEL, was="created", now="failed", exit_code=3),
        event("simulation.ended", "info", **OF_THE_RUN),
    ]


def test_a_stop_is_told_with_its_reason(running: Inventory, told: Told) -> None:
    """Once."""
    running.stop(RUN, "SimulationDone")
    running.stop(RUN, "again")
    assert told == [event("simulation.stopping", "info", **OF_THE_RUN, why="SimulationDone")]


def test_a_further_request_of_a_live_run_is_told(running: Inventory, told: Told) -> None:
    """Also where it names no model that was not known."""
    running.add(order(spec(retries=1), digest="digest-2"))
    assert told == [event("simulation.extended", "info", **OF_THE_RUN)]


def test_a_request_that_comes_again_is_not_told(running: Inventory, told: Told) -> None:
    """It is written down, and no more comes of it."""
    running.add(order(spec(retries=1), delivery=7))
    assert told == []


def test_the_end_of_the_grace_is_told(running: Inventory, told: Told) -> None:
    """Who reads that a model was stopped reads when that began."""
    running.stop(RUN, "SimulationDone")
    told.clear()
    running.begin_removal(RUN)
    assert told == [event("simulation.removing", "info", **OF_THE_RUN)]


def test_it_is_told_when_there_is_nothing_more_to_tell_of_a_run(running: Inventory, told: Told) -> None:
    """From here on it is only kept for its logs."""
    running.apply(attempt(), Succeeded())
    told.clear()
    running.reported(RUN)
    assert told == [event("simulation.reported", "info", **OF_THE_RUN)]


def test_a_run_that_is_known_again_is_told_with_what_lives_of_it(inventory: Inventory, told: Told) -> None:
    """As it was written down, and before anybody has looked."""
    inventory.restore(run_of(model("a"), model("b", state=State.SUCCEEDED)))
    assert told == [event("simulation.restored", "info", **OF_THE_RUN, models=2, living=1)]


def test_a_removal_is_told_of_each_model(running: Inventory, told: Told) -> None:
    """Nothing of it is left."""
    running.apply(attempt(), Succeeded())
    told.clear()
    running.forget(RUN)
    assert told == [
        event("model.removed", "info", **OF_THE_MODEL),
        event("simulation.forgotten", "debug", **OF_THE_RUN),
    ]


def test_an_adoption_is_told_with_the_marks_of_the_run(inventory: Inventory, told: Told) -> None:
    """How many models were found, and how many of them live."""
    found: list[tuple[Model, Failed | Succeeded | None]] = [(model("a"), None), (model("b"), Succeeded())]
    inventory.adopt(RUN, found, frozenset({Mark.STOPPING, Mark.READY}))
    assert told[0] == event("simulation.adopted", "info", **OF_THE_RUN, models=2, living=1, marks=["ready", "stopping"])


def test_an_adoption_that_lost_who_was_ready_is_a_warning(inventory: Inventory, told: Told) -> None:
    """With what follows from it, for whoever wonders later why ModelsReady never comes."""
    inventory.adopt(RUN, [(model("a"), None)], frozenset())
    (adopted,) = told
    assert "ModelsReady" in adopted.pop("hint")
    assert adopted == event("simulation.adopted", "warning", **OF_THE_RUN, models=1, living=1)


def test_an_adoption_of_a_run_that_ended_warns_of_nothing(inventory: Inventory, told: Told) -> None:
    """Nobody waits for ModelsReady any more."""
    inventory.adopt(RUN, [(model("a"), Succeeded())], frozenset())
    assert told[0] == event("simulation.adopted", "info", **OF_THE_RUN, models=1, living=0, marks=[])
