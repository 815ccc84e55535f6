"""What keeps runs apart in another process: their numbers, and the requests that they took. And a row that is taken."""

from datetime import timedelta

from mso.ledger import LinesKept, ModelAsked, ModelStands, RequestKept, RowDone, RowPut, RunForgotten
from mso.ledger.sql import SqlLedger
from mso.model import SimulationId, State
from mso.outbox import Kind, Row
from tests.ledger.things import NOW, RUN, a_model, a_run, keep, opened, recovered

HOUR = timedelta(hours=1)


async def test_a_later_run_that_is_forgotten_counts_although_an_earlier_one_is_kept(place: str) -> None:
    """Else its number would be given again, and its successor be taken for it."""
    await keep(place, *opened(a_run(1), a_run(2)), RunForgotten(a_run(2), NOW))
    found = await recovered(place)
    assert [run.record.key for run in found.runs] == [a_run(1)]
    assert [run.record.key for run in found.bygone] == [a_run(2)]


async def test_the_requests_of_all_runs_are_known(place: str) -> None:
    """However many runs came after: the same id never opens another one."""
    await keep(
        place,
        *opened(a_run(1), a_run(2)),
        RequestKept(a_run(1), "digest-1", "first", 7),
        RequestKept(a_run(2), "digest-2", "second", 8),
        RequestKept(a_run(2), "digest-2", "second", 9),
        RequestKept(a_run(2), "digest-3"),
        RunForgotten(a_run(1), NOW),
    )
    found = await recovered(place)
    assert [(taken.run.run, taken.request_id, taken.delivery) for taken in found.taken] == [
        (1, "first", 7),
        (2, "second", 8),
        (2, "second", 9),
        (2, "", 0),
    ]
    (run,) = found.runs
    assert [(request.digest, request.delivery) for request in run.requests][-3:] == [
        ("digest-2", 8),
        ("digest-2", 9),
        ("digest-3", 0),
    ]


async def test_a_withheld_row_is_taken_once_and_by_whoever_asks_first(place: str) -> None:
    """It needs no claim, and disturbs none."""
    row = Row(1, Kind.MODELS_READY, RUN.simulation, "/topic", b"", RUN, witness="token")
    async with SqlLedger(place) as service:
        await service.claim()
        await service.commit([*opened(RUN), RowPut(row), RowDone(1, withheld=True)])
        async with SqlLedger(place) as operator:
            taken = await operator.take_withheld(RUN.simulation)
            assert taken
            assert (taken.number, taken.topic) == (1, "/topic")
            assert await operator.take_withheld(RUN.simulation) is None
        await service.commit([LinesKept(a_model().key, ("still", "mine"))])


async def test_a_run_is_listed_with_how_many_of_its_models_stand_how(place: str) -> None:
    """For who looks back over many."""
    first, second = a_model("a"), a_model("b")
    ended = ModelStands(a_model("b", state=State.FAILED))
    await keep(place, *opened(RUN, a_run(1, "empty")), ModelAsked(first), ModelAsked(second), ended)
    async with SqlLedger(place) as ledger:
        empty, run = await ledger.runs()
        assert (run.record.key, run.tally) == (RUN, {State.CREATED: 1, State.FAILED: 1})
        assert run.opened_at == first.created_at
        assert (empty.record.key.simulation, empty.tally, empty.opened_at) == (SimulationId("empty"), {}, None)
