"""What each Change means for the ledger: a table, with every Change in it."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from typing import get_args

import pytest

from mso.changes import Change
from mso.inventory import Inventory
from mso.ledger import (
    Entry,
    KnownModel,
    ModelAsked,
    ModelStands,
    RequestKept,
    RunForgotten,
    RunKept,
    RunRecord,
)
from mso.model import FailurePolicy, Mark, Ready, Reason, State, Succeeded
from mso.record import Record
from tests.builders import NOW, RUN, Clock, attempt, crash, model, order, request, run_of, spec, without
from tests.fakes.ledger import FakeLedger, recovered
from tests.happening import running

LATER = NOW + timedelta(seconds=60)
ASKED, RETRIED = model("a"), model("a", spec=spec("a", retries=1))
FAILED = crash(3, message="it did not work")
ENDED = without(
    ASKED, state=State.SUCCEEDED, since=LATER, exit_code=0, reason=Reason.COMPLETED, finished_at=LATER, ready=True
)

Act = Callable[[Inventory], object]


def nothing(_: Inventory) -> None:
    """It begins with that."""


def ask(inventory: Inventory) -> None:
    inventory.add(order("a"))


def ready(inventory: Inventory) -> None:
    ask(inventory)
    inventory.apply(attempt("a"), Ready())


def end(inventory: Inventory) -> None:
    ready(inventory)
    inventory.apply(attempt("a"), Succeeded())


def report(inventory: Inventory) -> None:
    end(inventory)
    inventory.reported(RUN)


def stop(inventory: Inventory) -> None:
    ask(inventory)
    inventory.stop(RUN, "a test")


def record(**fields: object) -> RunKept:
    return RunKept(RunRecord(RUN, request(), **fields))  # type: ignore[arg-type]


FURTHER = request(digest="digest-2", request_id="r-2", keep_logs=timedelta(hours=1))
ADOPTED = request(digest="digest-2", request_id="r-2")

TABLE: dict[str, tuple[Act, Act, Sequence[Entry]]] = {
    "SimulationAdded ModelAdded": (
        nothing,
        lambda it: it.add(order("a", "b", request_id="r-1", delivery=7)),
        (
            RunKept(RunRecord(RUN, request(request_id="r-1"))),
            RequestKept(RUN, "digest-1", "r-1", 7),
            ModelAsked(model("a", request=request(request_id="r-1"), created_at=LATER, since=LATER)),
            ModelAsked(model("b", request=request(request_id="r-1"), created_at=LATER, since=LATER)),
        ),
    ),
    "SimulationExtended": (
        ask,
        lambda it: it.add(order("a", digest="digest-2", request_id="r-2", keep_logs=timedelta(hours=1), delivery=8)),
        (RunKept(RunRecord(RUN, FURTHER)), RequestKept(RUN, "digest-2", "r-2", 8)),
    ),
    "SimulationExtended (again)": (
        ask,
        lambda it: it.add(order("a", delivery=9)),
        (record(), RequestKept(RUN, "digest-1", delivery=9)),
    ),
    "SimulationRestored": (nothing, lambda it: it.restore(run_of(ASKED)), ()),
    "SimulationAdopted": (
        nothing,
        lambda it: it.adopt(RUN, [(ASKED, None), (model("b", request=ADOPTED, attempt=2), None)], frozenset()),
        (
            RunKept(RunRecord(RUN, ADOPTED)),
            RequestKept(RUN, "digest-1"),
            RequestKept(RUN, "digest-2", "r-2"),
            ModelAsked(ASKED),
            ModelAsked(model("b", request=ADOPTED, attempt=2)),
        ),
    ),
    "SimulationReady": (
        ask,
        lambda it: it.apply(attempt("a"), Ready()),
        (ModelStands(without(ASKED, state=State.RUNNING, ready=True, since=LATER)), record(announced=True)),
    ),
    "ModelChanged": (
        lambda it: it.add(order(spec("a", retries=1))),
        lambda it: it.apply(attempt("a"), FAILED),
        (ModelStands(without(RETRIED, attempt=2, since=LATER)),),
    ),
    "SimulationStopping": (ask, lambda it: it.stop(RUN, "a test"), (record(stopping=True),)),
    "SimulationRemoving": (
        stop,
        lambda it: it.begin_removal(RUN),
        (record(stopping=True, removing_since=LATER),),
    ),
    "SimulationEnded": (
        ready,
        lambda it: it.apply(attempt("a"), Succeeded()),
        (ModelStands(ENDED), record(announced=True, ended_at=LATER)),
    ),
    "SimulationReported": (
        end,
        lambda it: it.reported(RUN),
        (record(announced=True, ended_at=NOW, reported_at=LATER),),
    ),
}


async def kept(before: Act, act: Act) -> list[Entry]:
    """What this act leaves in the ledger, behind what was before it."""
    clock, ledger = Clock(), FakeLedger()
    inventory = Inventory(clock)
    keeping = Record(inventory, ledger, then=(), step=lambda _: nullcontext())
    before(inventory)
    clock.move(60)
    inventory.subscribe(keeping.observe)
    async with running(keeping.keep()):
        act(inventory)
        await keeping.flushed()
    return ledger.entries


@pytest.mark.parametrize("changes", TABLE)
async def test_what_a_change_means_for_the_ledger(changes: str) -> None:
    """The run and its models as they are now, and no more than what altered."""
    before, act, expected = TABLE[changes]
    assert await kept(before, act) == list(expected)


async def test_a_run_of_which_nothing_is_left_is_history() -> None:
    """From that moment on; its models are not written again."""
    began = datetime.now(UTC)
    (forgotten,) = await kept(report, lambda it: it.forget(RUN))
    assert isinstance(forgotten, RunForgotten)
    assert forgotten.run == RUN
    assert began <= forgotten.at <= datetime.now(UTC)


def test_every_change_is_spoken_for() -> None:
    """None of them is in no row: but of the removal of a model, which is told with that of its run."""
    told = {name for names in TABLE for name in names.partition(" (")[0].split()}
    assert told | {"ModelRemoved", "SimulationForgotten"} == {kind.__name__ for kind in get_args(Change)}


async def test_a_failure_that_stops_its_run_is_kept_with_that() -> None:
    """In one transaction: no other process finds the one without the other."""
    asked = request(failure_policy=FailurePolicy.STOP_ALL)
    failed = without(
        model("a", request=asked),
        state=State.FAILED,
        since=LATER,
        exit_code=3,
        reason=Reason.ERROR,
        message="it did not work",
        finished_at=LATER,
    )
    assert await kept(
        lambda it: it.add(order("a", "b", failure_policy=FailurePolicy.STOP_ALL)),
        lambda it: it.apply(attempt("a"), FAILED),
    ) == [ModelStands(failed), RunKept(RunRecord(RUN, asked, stopping=True))]


async def test_how_adopted_models_ended_is_kept_behind_them() -> None:
    """As it would be if it had happened now."""
    entries = await kept(
        nothing, lambda it: it.adopt(RUN, [(ASKED, Succeeded(finished_at=NOW))], frozenset({Mark.STOPPING}))
    )
    ended = without(ENDED, ready=False, finished_at=NOW)
    run = record(stopping=True, ended_at=NOW)
    # The state is whole when it is told, so what is kept first is what it comes to.
    assert entries == [
        run,
        RequestKept(RUN, "digest-1"),
        ModelAsked(ended),
        run,
        ModelStands(ended),
        run,
    ]


async def test_a_retry_of_an_adopted_model_is_no_deployment() -> None:
    """Its second attempt was never seen where models run, so another process must not take it for one that vanished."""
    entries = await kept(nothing, lambda it: it.adopt(RUN, [(RETRIED, FAILED)], frozenset()))
    (run,) = recovered(entries).runs
    assert run.models == (KnownModel(without(RETRIED, attempt=2, since=LATER), deployed=False),)
