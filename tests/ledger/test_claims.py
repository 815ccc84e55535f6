"""Who may write to a ledger, and who waits for whom."""

import asyncio
import itertools
import threading

import pytest

from mso import recollection
from mso.ledger import (
    DeposedError,
    LedgerError,
    ModelAsked,
    Noted,
    RunForgotten,
    UnusableLedgerError,
    sql,
)
from mso.ledger.sql import SqlLedger
from mso.model import Model
from tests.ledger.things import (
    HOUR,
    NOW,
    RUN,
    a_model,
    a_run,
    keep,
    locked,
    opened,
)


async def test_who_was_deposed_writes_nothing_more(place: str) -> None:
    """From the moment that another one has claimed it, nothing of a commit or a pruning is kept, for ever."""
    async with SqlLedger(place) as first, SqlLedger(place) as second:
        epoch = await first.claim()
        await first.commit([*opened(RUN), RunForgotten(RUN, NOW), Noted("by", "first")])
        assert await second.claim() == epoch + 1
        for _ in range(2):
            with pytest.raises(DeposedError):
                await first.commit([Noted("by", "the deposed"), *opened(a_run(2))])
            with pytest.raises(DeposedError):
                await first.prune(NOW + HOUR)
        found = await second.recover()
        assert (found.notes, len(found.bygone), found.runs) == ({"by": "first"}, 1, ())
        await second.commit([Noted("by", "second")])
        assert (await first.recover()).notes == {"by": "second"}


async def commit_until_deposed(ledger: SqlLedger, begun: asyncio.Event) -> int:
    """The last number that was committed."""
    for number in itertools.count(1):
        try:
            await ledger.commit([Noted("last", str(number)), *opened(a_run(number))])
        except DeposedError:
            return number - 1
        begun.set()
    raise AssertionError


async def test_a_claim_races_with_commits_and_is_a_line_between_them(place: str) -> None:
    """What the new one finds after its claim is all that the old one ever kept."""
    async with SqlLedger(place) as first, SqlLedger(place) as second:
        for _ in range(10):
            await first.claim()
            begun = asyncio.Event()
            writer = asyncio.create_task(commit_until_deposed(first, begun))
            await begun.wait()
            await second.claim()
            found = await second.recover()
            assert found.notes["last"] == str(await writer)
            assert await second.recover() == found


async def test_nobody_writes_who_has_not_claimed(place: str) -> None:
    """A commit before the claim is a bug of the caller, and ends it."""
    async with SqlLedger(place) as ledger:
        with pytest.raises(RuntimeError, match="not claimed"):
            await ledger.commit([Noted("a", "b")])
        with pytest.raises(RuntimeError, match="not claimed"):
            await ledger.prune(NOW)
    for closed in (SqlLedger(place), ledger):
        with pytest.raises(RuntimeError, match="async with"):
            await closed.recover()
    async with SqlLedger(place) as ledger:
        await ledger.claim()
    async with ledger:
        with pytest.raises(RuntimeError, match="not claimed"):
            await ledger.commit([Noted("a", "b")])


async def test_a_commit_of_nothing_finds_out_who_was_deposed(place: str) -> None:
    """It keeps nothing, and asks all the same."""
    async with SqlLedger(place) as first, SqlLedger(place) as second:
        await first.claim()
        await first.commit([])
        await second.claim()
        with pytest.raises(DeposedError):
            await first.commit([])


async def test_a_reader_reads_and_never_writes(place: str) -> None:
    """One that is opened read only sees what is committed meanwhile, and cannot claim."""
    with pytest.raises(UnusableLedgerError):
        async with SqlLedger(place, read_only=True):
            pass
    async with SqlLedger(place) as ledger, SqlLedger(place, read_only=True) as reader:
        await ledger.claim()
        await ledger.commit(opened(RUN))
        assert [one.record.key for one in await reader.runs()] == [RUN]
        with pytest.raises(RuntimeError, match="read only"):
            await reader.claim()
        await ledger.commit([Noted("still", "mine")])


async def test_the_loop_goes_on_while_a_commit_waits(place: str) -> None:
    """A commit that has to wait for somebody else's lock holds up nothing but what asks the ledger."""
    async with SqlLedger(place) as ledger:
        await ledger.claim()
        with locked(place):
            commit = asyncio.create_task(ledger.commit([Noted("late", "but kept")]))
            for _ in range(1000):
                await asyncio.sleep(0)
            assert not commit.done()
        await commit
        assert (await ledger.recover()).notes == {"late": "but kept"}


async def test_a_lock_that_is_not_given_back_is_an_error_that_passes(place: str) -> None:
    """Nothing of the commit is kept, and the same commit goes through afterwards."""
    async with SqlLedger(place, patience_seconds=0.4) as ledger:
        await ledger.claim()
        with locked(place):
            with pytest.raises(LedgerError):
                await ledger.commit([Noted("a", "b")])
        assert (await ledger.recover()).notes == {}
        await ledger.commit([Noted("a", "b")])
        assert (await ledger.recover()).notes == {"a": "b"}


async def test_models_are_encoded_off_the_loop(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """To write down ten thousand models is work, and not the work of the loop."""
    threads = set()
    encode = recollection.encode

    def watched(model: Model) -> str:
        threads.add(threading.current_thread())
        return encode(model)

    monkeypatch.setattr(recollection, "encode", watched)
    await keep(place, ModelAsked(a_model()))
    assert threads
    assert threading.main_thread() not in threads


async def test_calls_are_served_in_their_order(place: str) -> None:
    """Whoever asks after a commit sees it, without waiting for the commit to return."""
    async with SqlLedger(place) as ledger:
        await ledger.claim()
        commits = [asyncio.create_task(ledger.commit([Noted("n", str(number))])) for number in range(20)]
        await asyncio.sleep(0)
        assert (await ledger.recover()).notes == {"n": "19"}
        await asyncio.gather(*commits)


async def test_a_call_of_which_nothing_comes_is_given_up(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that hangs is a LedgerError too; and the same commit goes through when it hangs no more."""
    monkeypatch.setattr(sql, "CALL_SECONDS", 0.3)
    async with SqlLedger(place) as ledger:
        await ledger.claim()
        with locked(place):
            for _ in range(2):
                with pytest.raises(LedgerError, match=r"nothing for 0\.3 s"):
                    await ledger.commit([Noted("a", "b")])
        monkeypatch.undo()
        await ledger.commit([Noted("a", "b")])
        assert (await ledger.recover()).notes == {"a": "b"}
