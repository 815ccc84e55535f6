"""An MSO that only commits: one batch after the other, each with a number, which it prints when the commit returned.

Arguments: where the ledger is; and, to try what a full disk does, to how many bytes a file may grow from then on.
"""

import asyncio
import resource
import sys
from itertools import count

from mso.ledger import Entry, LedgerError, ModelAsked, ModelStands, Noted, RequestKept, RowDone, RowPut, RunKept
from mso.ledger.sql import SqlLedger
from mso.model import Succeeded
from tests.ledger.things import NOW, a_model, a_record, a_row, a_run

MODELS = 20


def batch(number: int) -> list[Entry]:
    """Of everything something, and all of it says which batch it was."""
    run = a_run(number)
    models = [a_model(f"m-{index}", run) for index in range(MODELS)]
    rows = [a_row(number * MODELS + index, run=run) for index in range(MODELS)]
    return [
        RunKept(a_record(run)),
        RequestKept(run, f"digest-{number}"),
        *map(ModelAsked, models),
        *(ModelStands(model.after(Succeeded(), NOW)) for model in models),
        *map(RowPut, rows),
        RowDone(rows[0].number),
        Noted("batch", str(number)),
    ]


def say(text: object) -> None:
    print(text, flush=True)  # noqa: T201 - how the test hears of it


async def commit_for_ever(where: str) -> None:
    async with SqlLedger(where) as ledger:
        await ledger.claim()
        last = int((await ledger.recover()).notes.get("batch", "0"))
        for number in count(last + 1):
            await ledger.commit(batch(number))
            say(number)


async def commit_into_a_full_disk(where: str, room: int) -> None:
    async with SqlLedger(where) as ledger:
        await ledger.claim()
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))
        for number in count(1):
            try:
                await ledger.commit(batch(number))
            except LedgerError as error:
                say(f"refused {number}: {error}")
                break
            say(number)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        await ledger.commit(batch(number))
        say(number)


if __name__ == "__main__":
    place, *limit = sys.argv[1:]
    asyncio.run(commit_into_a_full_disk(place, int(limit[0])) if limit else commit_for_ever(place))
