"""What a ledger is told, it keeps: every kind of entry comes back, over every database that there is."""

import asyncio
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings

from mso.ledger import (
    AttemptDeployed,
    KnownModel,
    KnownRun,
    Ledger,
    LinesKept,
    ModelAsked,
    ModelStands,
    Noted,
    PastModel,
    Recovered,
    RequestKept,
    RowDone,
    RowPut,
    RowReleased,
    RowSent,
    RunForgotten,
    RunKept,
)
from mso.ledger.sql import SqlLedger
from mso.model import Event, Failed, Model, ModelId, Ready, Reason, Retry, SimulationId, Succeeded
from mso.outbox import Kind
from tests.ledger.things import (
    HOUR,
    NOW,
    RUN,
    a_model,
    a_record,
    a_row,
    a_run,
    keep,
    locked,
    models,
    opened,
    plain,
    recovered,
)


async def only_run(place: str) -> KnownRun:
    (run,) = (await recovered(place)).runs
    return run


async def the_model(place: str) -> KnownModel:
    (model,) = (await only_run(place)).models
    return model


async def test_a_new_ledger_is_empty(place: str) -> None:
    """Nothing is known of anything, and no row was ever numbered."""
    assert await recovered(place) == Recovered(runs=(), bygone=(), taken=(), rows=(), last_row=0, notes={})


async def test_a_ledger_is_a_ledger(place: str) -> None:
    """It has what the contract names."""
    ledger: Ledger = SqlLedger(place)
    async with ledger as entered:
        assert entered is ledger


async def test_a_run_is_as_it_was_kept_last(place: str) -> None:
    """Every field comes back, and the last record takes the place of the one before, in one commit and in two."""
    first = a_record(announced=True, removing_since=NOW)
    request = replace(
        first.request,
        simulator_id="DOTS-so",
        protocol_version=2,
        keep_logs=timedelta(hours=0.1, microseconds=1),
        more_to_come=True,
        request_id="42",
        digest="digest-2",
    )
    second = replace(first, request=request, stopping=True, ended_at=NOW + HOUR, reported_at=NOW + 2 * HOUR)
    await keep(place, RunKept(first))
    assert (await only_run(place)).record == first
    await keep(place, RunKept(first), RunKept(second))
    assert (await only_run(place)).record == second


async def test_requests_of_a_run_are_kept_once_and_in_their_order(place: str) -> None:
    """A digest and a request id, together, are one request of a run; another run may have the same."""
    first, second = RequestKept(RUN, "digest-1"), RequestKept(RUN, "digest-1", "42")
    of_other = RequestKept(a_run(2), "digest-1")
    await keep(place, *opened(RUN, a_run(2)), first, second, first, of_other)
    await keep(place, second, first)
    found = await recovered(place)
    assert [run.requests for run in found.runs] == [(first, second), (of_other,)]


async def test_models_stand_as_they_stood_last(place: str) -> None:
    """What happens to a model is kept, and its specification stays what was asked for."""
    model = a_model()
    events: list[Event] = [
        Ready(),
        Retry(Failed(1, Reason.ERROR)),
        Failed(137, Reason.OOM_KILLED, "too large", NOW, NOW + HOUR, "node-1"),
    ]
    await keep(place, *opened(RUN), ModelAsked(model))
    assert await the_model(place) == KnownModel(model, deployed=False)
    for event in events:
        model = model.after(event, model.since + HOUR)
        await keep(place, ModelStands(model))
        assert (await the_model(place)).model == model
    assert (await the_model(place)).model.spec == a_model().spec


async def test_a_model_that_stands_is_no_model_that_was_asked_for(place: str) -> None:
    """What was never asked for cannot stand, be deployed, or have written anything."""
    model = a_model()
    await keep(place, *opened(RUN), ModelStands(model), AttemptDeployed(model.current), LinesKept(model.key, ("x",)))
    assert (await only_run(place)).models == ()


async def test_models_come_in_the_order_in_which_they_were_asked_for(place: str) -> None:
    """One that is asked for again keeps its place."""
    asked = [ModelAsked(a_model(name)) for name in ("b", "c", "a")]
    await keep(place, *opened(RUN), *asked)
    await keep(place, asked[0], ModelAsked(a_model("aa")))
    names = [known.model.key.model for known in (await only_run(place)).models]
    assert names == ["b", "c", "a", "aa"]


async def test_the_attempt_that_was_deployed_is_known(place: str) -> None:
    """It is the present attempt that counts: another one has yet to be deployed."""
    model = a_model()
    await keep(place, *opened(RUN), ModelAsked(model), AttemptDeployed(model.current))
    assert (await the_model(place)).deployed
    model = model.after(Retry(Failed(1, Reason.ERROR)), NOW)
    await keep(place, ModelStands(model))
    assert await the_model(place) == KnownModel(model, deployed=False)
    await keep(place, AttemptDeployed(model.current))
    assert (await the_model(place)).deployed
    await keep(place, ModelAsked(model))
    assert not (await the_model(place)).deployed


async def test_the_last_lines_are_history(place: str) -> None:
    """They are with the model for people who look back, in the order of its run."""
    first, second = a_model(), a_model("m-1").after(Succeeded(NOW, NOW + HOUR), NOW + HOUR)
    await keep(place, *opened(RUN), ModelAsked(first), ModelAsked(second))
    await keep(place, LinesKept(first.key, ("one", "two"), ("FailedMount: no such secret",)), RunForgotten(RUN, NOW))
    async with SqlLedger(place) as ledger:
        assert await ledger.models(RUN) == (
            PastModel(first, ("one", "two"), ("FailedMount: no such secret",)),
            PastModel(second, (), ()),
        )
        assert await ledger.models(a_run(2)) == ()


async def test_rows_wait_until_they_are_done(place: str) -> None:
    """A row comes back as it was put, released and sent; one that is done does not."""
    rows = [
        a_row(1, Kind.MODELS_READY, about=""),
        a_row(2, held=True, payload=b"\0\xff"),
        a_row(3, Kind.REJECTION, run=None, payload=b""),
        a_row(4, Kind.ALL_TERMINATED),
        a_row(5, held=True),
    ]
    await keep(place, *map(RowPut, rows))
    assert list(map(plain, (await recovered(place)).rows)) == list(map(plain, rows))
    await keep(place, RowDone(3), RowReleased(2, b"with lines"), RowSent(1, "witness-1"), RowDone(4))
    sent, released = replace(rows[0], witness="witness-1"), replace(rows[1], held=False, payload=b"with lines")
    assert list(map(plain, (await recovered(place)).rows)) == list(map(plain, (sent, released, rows[4])))


async def test_a_row_is_kept_as_it_was_when_commit_was_called(place: str) -> None:
    """Rows change as they are released, also while a commit waits for its turn: what is kept is not half of that."""
    row = a_row(1, held=True, payload=b"before")
    async with SqlLedger(place) as ledger:
        await ledger.claim()
        with locked(place):
            commit = asyncio.create_task(ledger.commit([RowPut(row)]))
            await asyncio.sleep(0)
            row.held, row.payload = False, b"after"
        await commit
        (found,) = (await ledger.recover()).rows
    assert (found.held, found.payload) == (True, b"before")


async def test_the_number_of_a_row_is_never_given_twice(place: str) -> None:
    """The highest number is remembered when its row is long gone."""
    old = datetime.now(UTC) - 3 * HOUR
    await keep(place, RunKept(a_record(ended_at=old)), RowPut(a_row(7)), RowPut(a_row(8, Kind.REJECTION, None)))
    async with SqlLedger(place) as ledger:
        await ledger.claim()
        await ledger.commit([RowDone(7), RowDone(8)])
        await ledger.prune(old)
        found = await ledger.recover()
    assert (found.rows, found.last_row) == ((), 8)


async def test_a_note_is_what_was_noted_last(place: str) -> None:
    """Under each name the last value, whatever is in it."""
    await keep(place, Noted("session", "one"), Noted("other", "\0\ud800"), Noted("session", '"two"'))
    assert (await recovered(place)).notes == {"session": '"two"', "other": "\0\ud800"}


@pytest.mark.parametrize(
    "name",
    (
        "a",
        "A",
        " a ",
        "a\u00a0b",
        '"quoted"',
        "back\\slash",
        "it's",
        "%s %(x)s :x ?",
        "🏭" * 256,
        "e\u0301",
        "é",
        "مضخة حرارية",
        "\u200b",
        "x" * 256,
    ),
)
async def test_ids_may_be_anything(place: str, name: str) -> None:
    """Any text is the id of a simulation or a model, and no two are taken for one."""
    run, other = a_run(1, name), a_run(1, name + "'")
    await keep(place, *opened(run, other), ModelAsked(a_model(name, run)), ModelAsked(a_model(name + "\\", run)))
    await keep(place, ModelStands(a_model(name, run, message="it")), RowPut(a_row(1, run=run, about=name)))
    await keep(place, RequestKept(run, "digest", name * 100), RunForgotten(other, NOW))
    found = await recovered(place)
    assert [known.record.key for known in found.runs] == [run]
    assert [known.model.key for known in found.runs[0].models] == [(name, 1, name), (name, 1, name + "\\")]
    assert [known.model.message for known in found.runs[0].models] == ["it", ""]
    assert [known.request_id for known in found.runs[0].requests] == [name * 100]
    assert [known.record.key for known in found.bygone] == [other]
    assert (found.rows[0].simulation, found.rows[0].about) == (name, name)
    async with SqlLedger(place) as ledger:
        assert [one.record.key for one in await ledger.runs(name)] == [run]
        assert len(await ledger.models(run)) == 2


async def test_what_models_write_is_always_kept(place: str) -> None:
    """A NUL or half of a character in a message or a log line becomes U+FFFD: it fails no commit."""
    text = "half \ud83d, none \0, whole 😀"
    model = a_model(message=text, node=text)
    await keep(place, *opened(RUN), ModelAsked(model), LinesKept(model.key, (text, ""), (text,)))
    shown = "half \ufffd, none \ufffd, whole 😀"
    async with SqlLedger(place) as ledger:
        (past,) = await ledger.models(RUN)
    assert (past.model.message, past.model.node, past.lines, past.warnings) == (shown, shown, (shown, ""), (shown,))


async def test_moments_come_back_to_the_microsecond_and_in_utc(place: str) -> None:
    """Whatever zone a moment was given in, and however the server is set."""
    moment = datetime.fromisoformat("2026-03-29T02:59:59.999999+02:00")
    await keep(place, RunKept(a_record(ended_at=moment)), ModelAsked(a_model(finished_at=moment)))
    run = await only_run(place)
    for found in (run.record.ended_at, run.models[0].model.finished_at):
        assert found == moment
        assert found is not None
        assert found.tzinfo is UTC


def shown(text: str) -> str:
    return re.sub("[\0\ud800-\udfff]", "\ufffd", text)


def test_any_model_comes_back(place: str) -> None:
    """Every field of it, its request and its specification survives; of what people read, all that can be stored."""
    ledger = SqlLedger(place)

    async def keep_and_recover(model: Model) -> Model:
        await ledger.commit([*opened(model.key.run_key), ModelAsked(model)])
        found = await ledger.recover()
        known = {known.model.key: known.model for run in found.runs for known in run.models}
        return known[model.key]

    with asyncio.Runner() as runner:
        runner.run(ledger.__aenter__())
        runner.run(ledger.claim())

        @settings(max_examples=100, deadline=None)
        @given(model=models())
        def comes_back(model: Model) -> None:
            kept = runner.run(keep_and_recover(model))
            assert kept == replace(model, message=shown(model.message), node=shown(model.node))
            assert kept.spec == model.spec

        comes_back()
        runner.run(ledger.__aexit__())


async def test_names_of_simulations_and_models_do_not_mix(place: str) -> None:
    """A key is not its parts put together."""
    keys = [a_run(11, "s"), a_run(1, "s1"), a_run(1, "s")]
    await keep(place, *opened(*keys), *(ModelAsked(a_model(name, run)) for run in keys for name in ("1", "11")))
    found = await recovered(place)
    assert [[known.model.key.model for known in run.models] for run in found.runs] == [["1", "11"]] * 3
    assert found.runs[0].models[0].model.key == (SimulationId("s"), 11, ModelId("1"))
