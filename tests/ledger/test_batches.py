"""A commit is all of its entries, one after the other, or none of them."""

import asyncio
import random
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, create_engine, select

from mso.ledger import AttemptDeployed, Entry, ModelAsked, ModelStands, RowDone, RowPut, RunKept
from mso.ledger.schema import epoch, metadata
from mso.ledger.sql import SqlLedger
from mso.ledger.writing import batches
from mso.model import State
from tests.ledger.committer import MODELS
from tests.ledger.things import ENTRIES, RUN, a_model, a_record, a_row, a_run, engine_url

LIVES = 4


def everything(engine: Engine) -> dict[str, Sequence[Any]]:
    """All that is kept, in the order in which it was kept, but for the numbers that the database gave."""
    given_by_it = {"opened", "kept", "position"}
    with engine.connect() as connection:
        return {
            table.name: connection.execute(
                select(*(column for column in table.c if column.name not in given_by_it)).order_by(*table.primary_key)
            ).all()
            for table in metadata.sorted_tables
            if table is not epoch
        } | {"last_row": connection.execute(select(epoch.c.last_row)).all()}


def forget_everything(engine: Engine) -> None:
    with engine.begin() as connection:
        for table in metadata.sorted_tables:
            if table is epoch:
                connection.execute(epoch.update().values(last_row=0))
            else:
                connection.execute(table.delete())


def examples(place: str, number: int) -> int:
    """What a batch is, is decided before any database hears of it: a slow one need not hear of all."""
    return number // 4 if "://" in place else number


def test_a_batch_leaves_what_its_entries_leave_one_by_one(place: str) -> None:
    """Whatever is in it and in which order: entries about one thing, of one kind, and of a thing that is not there."""
    engine = create_engine(engine_url(place))
    ledger = SqlLedger(place)

    async def compare(before: list[Entry], entries: list[Entry]) -> None:
        forget_everything(engine)
        await ledger.commit(before)
        for entry in entries:
            await ledger.commit([entry])
        one_by_one = everything(engine)
        forget_everything(engine)
        await ledger.commit(before)
        await ledger.commit(entries)
        assert everything(engine) == one_by_one

    with asyncio.Runner() as runner:
        runner.run(ledger.__aenter__())
        runner.run(ledger.claim())

        @settings(max_examples=examples(place, 150), deadline=None)
        @given(st.lists(ENTRIES, max_size=5), st.lists(ENTRIES, max_size=12))
        def is_the_same(before: list[Entry], entries: list[Entry]) -> None:
            runner.run(compare(before, entries))

        is_the_same()
        runner.run(ledger.__aexit__())
    engine.dispose()


def test_a_batch_that_is_kept_twice_is_kept_once(place: str) -> None:
    """Nobody knows whether a commit was kept whose connection broke: it is tried again, and leaves the same."""
    engine = create_engine(engine_url(place))
    ledger = SqlLedger(place)

    async def compare(entries: list[Entry]) -> None:
        forget_everything(engine)
        await ledger.commit([RunKept(a_record(a_run(run, name))) for name in ("sim-1", "sim-😀") for run in (1, 2)])
        await ledger.commit(entries)
        once = everything(engine)
        await ledger.commit(entries)
        assert everything(engine) == once

    with asyncio.Runner() as runner:
        runner.run(ledger.__aenter__())
        runner.run(ledger.claim())

        @settings(max_examples=examples(place, 80), deadline=None)
        @given(st.lists(ENTRIES, max_size=10))
        def is_the_same(entries: list[Entry]) -> None:
            runner.run(compare(entries))

        is_the_same()
        runner.run(ledger.__aexit__())
    engine.dispose()


def test_a_thousand_models_are_a_few_statements() -> None:
    """What one run brings, and what its end brings, is one statement for each kind and not for each model."""
    models = [a_model(f"m-{number}") for number in range(1000)]
    asked: list[Entry] = [RunKept(a_record())]
    asked += [entry for model in models for entry in (ModelAsked(model), AttemptDeployed(model.current))]
    ended: list[Entry] = []
    for number, model in enumerate(models):
        ended += [ModelStands(model), RowPut(a_row(number)), RowDone(number)]
    assert [kind.__name__ for kind, _ in batches(asked)] == ["RunKept", "ModelAsked", "AttemptDeployed"]
    assert [(kind.__name__, len(entries)) for kind, entries in batches(ended)] == [
        ("ModelStands", 1000),
        ("RowPut", 1000),
        ("RowDone", 1000),
    ]


async def test_what_is_put_together_is_not_put_out_of_order(place: str) -> None:
    """A model that has to wait for an entry about itself is not overtaken by those that were asked for after it."""
    first, second, third = (a_model(name) for name in "cba")
    async with SqlLedger(place) as ledger:
        await ledger.claim()
        await ledger.commit([ModelAsked(first), ModelStands(second), ModelAsked(second), ModelAsked(third)])
        assert [past.model for past in await ledger.models(RUN)] == [first, second, third]


@pytest.mark.process
async def test_a_kill_in_the_middle_of_commits_leaves_whole_batches(place: str) -> None:
    """All batches whose commit returned are there, at most the next one besides, and of none a part."""
    seed = random.randrange(1 << 30)
    dice = random.Random(seed)
    last = 0
    for _ in range(LIVES):
        with subprocess.Popen(
            [sys.executable, "-m", "tests.ledger.committer", place],
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parents[2],
        ) as committer:
            assert committer.stdout is not None
            for _ in range(dice.randrange(1, 15)):
                last = int(committer.stdout.readline())
            committer.kill()
            for line in committer.stdout:
                last = int(line)
        async with SqlLedger(place) as ledger:
            found = await ledger.recover()
        kept = int(found.notes["batch"])
        assert last <= kept <= last + 1, f"seed {seed}"
        assert [run.record.key for run in found.runs] == [a_run(number) for number in range(1, kept + 1)]
        assert [run.requests[0].digest for run in found.runs] == [f"digest-{number}" for number in range(1, kept + 1)]
        assert {len(run.models) for run in found.runs} == {MODELS}
        assert {known.model.state for run in found.runs for known in run.models} == {State.SUCCEEDED}
        assert len(found.rows) == kept * (MODELS - 1)
        assert found.last_row == kept * MODELS + MODELS - 1
