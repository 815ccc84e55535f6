"""What is looked for in a ledger: what a new process has to know, what people look back at, and what is pruned."""

import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from mso.ledger import (
    AttemptDeployed,
    Entry,
    KnownRun,
    ModelAsked,
    ModelStands,
    RequestKept,
    RowDone,
    RowPut,
    RunForgotten,
    RunKept,
    reading,
)
from mso.ledger.sql import SqlLedger
from mso.model import Failed, Model, Ready, Reason, RunKey
from mso.outbox import Kind
from tests.ledger.things import HOUR, NOW, RUN, a_model, a_record, a_row, a_run, keep, opened, plain, recovered


async def test_runs_are_recovered_in_the_order_in_which_they_were_opened(place: str) -> None:
    """Also when an earlier one was kept again later; those that were forgotten are not among them."""
    runs = [a_run(1, "b"), a_run(1, "c"), a_run(1, "a"), a_run(2, "b")]
    await keep(place, *opened(*runs), *opened(runs[0]), RunForgotten(runs[2], NOW))
    assert [run.record.key for run in (await recovered(place)).runs] == [runs[0], runs[1], runs[3]]


async def test_a_forgotten_run_is_not_recovered_but_its_rows_are(place: str) -> None:
    """Nothing of it is left where models run, and what is still to be told of it is told. To keep it is no return."""
    await keep(place, *opened(RUN), ModelAsked(a_model()), RowPut(a_row(1)), RunForgotten(RUN, NOW))
    await keep(place, RunKept(a_record(reported_at=NOW)))
    found = await recovered(place)
    assert found.runs == ()
    assert [run.record.reported_at for run in found.bygone] == [NOW]
    assert [row.number for row in found.rows] == [1]


async def test_of_a_simulation_without_runs_the_last_one_is_bygone(place: str) -> None:
    """With its requests and without its models; the latest forgotten come last."""
    entries: list[Entry] = [
        *opened(a_run(1, "twice"), a_run(2, "twice"), a_run(1, "lives"), a_run(2, "lives"), a_run(1, "early")),
        RequestKept(a_run(2, "twice"), "digest-1", "42"),
        ModelAsked(a_model(run=a_run(2, "twice"))),
        RunForgotten(a_run(2, "twice"), NOW + HOUR),
        RunForgotten(a_run(1, "twice"), NOW + 2 * HOUR),
        RunForgotten(a_run(1, "lives"), NOW),
        RunForgotten(a_run(1, "early"), NOW),
    ]
    await keep(place, *entries)
    found = await recovered(place)
    assert found.bygone == (
        KnownRun(a_record(a_run(1, "early")), (), ()),
        KnownRun(a_record(a_run(2, "twice")), (RequestKept(a_run(2, "twice"), "digest-1", "42"),), ()),
    )
    assert [run.record.key for run in found.runs] == [a_run(2, "lives")]


async def test_of_too_many_bygone_simulations_the_latest_are_recovered(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was forgotten first is left out."""
    monkeypatch.setattr(reading, "BYGONE_AT_MOST", 2)
    runs = [a_run(1, name) for name in ("c", "a", "b")]
    await keep(place, *opened(*runs), *(RunForgotten(run, NOW + run.run * HOUR) for run in runs))
    await keep(place, RunForgotten(runs[0], NOW + 2 * HOUR))
    assert [run.record.key.simulation for run in (await recovered(place)).bygone] == ["b", "c"]


async def test_ends_of_runs_that_live_or_have_just_ended_are_told_again(place: str) -> None:
    """All that was done about them, ModelsReady and what was withheld excepted; each as a row of its own."""
    lives, ended, past = a_run(1, "lives"), a_run(1, "ended"), a_run(1, "past")
    rows = [
        a_row(1, Kind.MODELS_READY, lives),
        a_row(2, Kind.TERMINATION, lives),
        a_row(3, Kind.TERMINATION, past),
        a_row(4, Kind.ERROR_OCCURRED, ended),
        a_row(5, Kind.ALL_TERMINATED, ended, payload=b""),
        a_row(6, Kind.REJECTION, None),
        a_row(7, Kind.TERMINATION, lives),
        a_row(8, Kind.TERMINATION, lives),
    ]
    await keep(
        place,
        RunKept(a_record(lives)),
        RunKept(a_record(ended, ended_at=NOW)),
        RunKept(a_record(past, ended_at=NOW - timedelta(microseconds=1))),
        *map(RowPut, rows),
        *(RowDone(number) for number in (6, 5, 4, 3, 2, 1)),
        RowDone(7, withheld=True),
        RunForgotten(ended, NOW),
    )
    async with SqlLedger(place) as ledger:
        told = await ledger.told(NOW)
        assert list(map(plain, told)) == list(map(plain, (rows[1], rows[3], rows[4])))
        assert await ledger.told(NOW + HOUR) != await ledger.told(NOW + HOUR)


async def test_the_history_lists_the_last_opened_first(place: str) -> None:
    """Of one simulation or of all, forgotten or not, and not more than was asked for."""
    runs = [a_run(1, "b"), a_run(1, "a"), a_run(2, "b")]
    await keep(place, *opened(*runs), RunForgotten(runs[2], NOW))
    async with SqlLedger(place) as ledger:
        assert [one.record.key for one in await ledger.runs()] == runs[::-1]
        assert [one.record.key for one in await ledger.runs("b")] == [runs[2], runs[0]]
        assert [one.record.key for one in await ledger.runs(limit=1)] == [runs[2]]
        assert await ledger.runs("nobody") == ()


async def test_what_is_left_where_models_run_can_be_asked_for_alone(place: str) -> None:
    """Runs that live, and those whose logs are kept."""
    runs = [a_run(1, "lives"), a_run(1, "kept"), a_run(1, "gone")]
    await keep(place, *opened(*runs), RunKept(a_record(runs[1], ended_at=NOW)), RunForgotten(runs[2], NOW))
    async with SqlLedger(place) as ledger:
        assert [one.record.key for one in await ledger.runs(left=True)] == [runs[1], runs[0]]
        assert [one.record.key for one in await ledger.runs("gone", left=True)] == []


async def test_what_was_not_deployed_yet_is_counted(place: str) -> None:
    """Of the present attempt; what has ended will not be. And each model says it of itself."""
    names = ("deployed", "asked", "again", "refused")
    deployed, asked, again, refused = (a_model(name) for name in names)
    tried = replace(again, attempt=2)
    await keep(
        place,
        *opened(RUN),
        *map(ModelAsked, (deployed, asked, again, refused)),
        AttemptDeployed(deployed.current),
        AttemptDeployed(again.current),
        ModelStands(tried),
        ModelStands(refused.after(Failed(-1, Reason.DEPLOY_FAILED), NOW)),
    )
    async with SqlLedger(place) as ledger:
        (run,) = await ledger.runs()
        assert (run.undeployed, sum(run.tally.values())) == (2, 4)
        assert [one.deployed for one in await ledger.models(RUN)] == [True, False, False, False]


async def test_a_withheld_models_ready_is_found_while_its_run_lives(place: str) -> None:
    """Of the last run of the simulation only, and not once another one was put in its place."""
    held_back = a_row(1, Kind.MODELS_READY)
    async with SqlLedger(place) as ledger:
        await ledger.claim()
        await ledger.commit([*opened(RUN), RowPut(held_back), RowPut(a_row(2)), RowDone(2, withheld=True)])
        assert await ledger.withheld("sim-1") is None
        await ledger.commit([RowDone(1, withheld=True)])
        assert plain(await ledger.withheld("sim-1")) == plain(held_back)
        assert await ledger.withheld("sim-2") is None
        await ledger.commit([RunKept(a_record(ended_at=NOW))])
        assert await ledger.withheld("sim-1") is None
        await ledger.commit([RunKept(a_record()), RowPut(a_row(3, Kind.MODELS_READY))])
        assert await ledger.withheld("sim-1") is None
        await ledger.commit([RowDone(3)])
        assert await ledger.withheld("sim-1") is None
        await ledger.commit([RowDone(3, withheld=True)])
        assert plain(await ledger.withheld("sim-1")) == plain(a_row(3, Kind.MODELS_READY))
        await ledger.commit(opened(a_run(2)))
        assert await ledger.withheld("sim-1") is None


def many(models: int, run: RunKey) -> Sequence[Model]:
    return [a_model(f"model-{number}", run) for number in range(models)]


@pytest.mark.slow
async def test_ten_thousand_living_models_are_recovered_in_seconds(place: str) -> None:
    """All of them, as they are; how long it takes on a quiet machine is a second, and is printed."""
    runs = [a_run(1, f"sim-{number}") for number in range(25)]
    models = {run: many(400, run) for run in runs}
    async with SqlLedger(place) as ledger:
        await ledger.claim()
        for run in runs:
            await ledger.commit([*opened(run), *map(ModelAsked, models[run])])
            await ledger.commit([ModelStands(model.after(Ready(), NOW)) for model in models[run]])
        began = time.perf_counter()
        found = await ledger.recover()
        print(f"\nrecover of 10,000 models: {time.perf_counter() - began:.2f} s")  # noqa: T201 - a figure to report
    assert {run.record.key: [known.model for known in run.models] for run in found.runs} == {
        run: [model.after(Ready(), NOW) for model in models[run]] for run in runs
    }


async def test_history_is_pruned_and_what_is_not_forgotten_stays(place: str) -> None:
    """What was forgotten before then goes, whole, the last run of a simulation too; what is untold holds its run."""
    old, fresh, lives, untold = a_run(1, "old"), a_run(1, "fresh"), a_run(1, "lives"), a_run(1, "untold")
    runs = (old, fresh, lives, untold)
    await keep(
        place,
        *opened(*runs),
        *(ModelAsked(a_model(run=run)) for run in runs),
        *(RequestKept(run, "digest-1") for run in runs),
        *(RowPut(a_row(number, run=run)) for number, run in enumerate(runs)),
        *(RowDone(number) for number in range(3)),
        RunForgotten(old, NOW - timedelta(microseconds=1)),
        RunForgotten(fresh, NOW),
        RunForgotten(untold, NOW - HOUR),
    )
    async with SqlLedger(place) as ledger:
        await ledger.claim()
        assert await ledger.prune(NOW) == 1
        assert await ledger.prune(NOW) == 0
        assert [one.record.key for one in await ledger.runs()] == [untold, lives, fresh]
        assert [len(await ledger.models(run)) for run in runs] == [0, 1, 1, 1]
        assert [row.run for row in await ledger.told(NOW)] == [fresh, lives]
        found = await ledger.recover()
        assert [(run.record.key, run.requests) for run in found.bygone] == [
            (untold, (RequestKept(untold, "digest-1"),)),
            (fresh, (RequestKept(fresh, "digest-1"),)),
        ]
        await ledger.commit([RowDone(3)])
        assert await ledger.prune(NOW) == 1
        # Nothing of it is left that a new run of the same number could be taken for.
        await ledger.commit(opened(old))
        (again,) = (run for run in (await ledger.recover()).runs if run.record.key == old)
        assert again == KnownRun(a_record(old), (), ())


async def test_rows_that_nobody_will_ask_for_again_are_pruned(place: str) -> None:
    """Done, and of no run or of one that ended two hours ago; all others stay."""
    now = datetime.now(UTC)
    long_ago, lately = a_run(1, "long ago"), a_run(1, "lately")
    rows = [
        a_row(1, run=long_ago),
        a_row(2, run=long_ago),
        a_row(3, run=lately),
        a_row(4, Kind.REJECTION, None),
        a_row(5, Kind.REJECTION, None),
    ]
    await keep(
        place,
        RunKept(a_record(long_ago, ended_at=now - timedelta(hours=2, minutes=1))),
        RunKept(a_record(lately, ended_at=now - timedelta(hours=1, minutes=59))),
        *map(RowPut, rows),
        *(RowDone(number) for number in (1, 3, 4)),
    )
    async with SqlLedger(place) as ledger:
        await ledger.claim()
        assert await ledger.prune(NOW) == 0
        assert [row.number for row in await ledger.told(now - 24 * HOUR)] == [3]
        assert [row.number for row in (await ledger.recover()).rows] == [2, 5]


async def test_a_large_history_is_pruned_whole(place: str) -> None:
    """In more than one bite, and the number is that of all."""
    runs = [a_run(number, "sim-1") for number in range(1, 51)]
    await keep(place, *opened(*runs), *(RunForgotten(run, NOW) for run in runs))
    async with SqlLedger(place) as ledger:
        await ledger.claim()
        assert await ledger.prune(NOW + HOUR) == 50
        assert await ledger.runs() == ()
