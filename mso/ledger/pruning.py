"""What the ledger need not keep any more, a bite at a time; a function says how much it deleted, 0 when all is done."""

from datetime import datetime

from sqlalchemy import Connection, and_, bindparam, delete, exists, or_, select

from mso.ledger.reading import is_of_run
from mso.ledger.schema import models, outbox, requests, runs

RUNS_AT_ONCE = 20
ROWS_AT_ONCE = 5_000


def prune_rows(connection: Connection, ended_before: datetime) -> int:
    """Rows that are done, and of no run, or of one that ended before then or is not known any more."""
    is_old = or_(runs.c.opened.is_(None), runs.c.ended_at < ended_before)
    old = (
        select(outbox.c.number)
        .select_from(outbox.outerjoin(runs, is_of_run(outbox)))
        .where(outbox.c.done, is_old)
        .limit(ROWS_AT_ONCE)
    )
    return connection.execute(delete(outbox).where(outbox.c.number.in_(old))).rowcount


def prune_runs(connection: Connection, forgotten_before: datetime) -> int:
    """Runs that were forgotten before then, with all that is kept of them; none of which something is still untold."""
    untold = exists().where(is_of_run(outbox), ~outbox.c.done)
    old = connection.execute(
        select(runs.c.simulation, runs.c.run)
        .where(runs.c.forgotten_at < forgotten_before, ~untold)
        .order_by(runs.c.forgotten_at)
        .limit(RUNS_AT_ONCE)
    ).all()
    for table in (models, requests, outbox, runs) if old else ():
        of_one = and_(table.c.simulation == bindparam("simulation"), table.c.run == bindparam("run"))
        connection.execute(delete(table).where(of_one), [{"simulation": one.simulation, "run": one.run} for one in old])
    return len(old)
