"""Bringing a ledger into the form that this release reads and writes. Alembic does it, and is named nowhere else.

It takes a moment to import: whoever opens a ledger imports this module then, and not before.
"""

import logging
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect

from mso.ledger import OutdatedLedgerError, UnusableLedgerError
from mso.ledger.schema import REVISION_TABLE, metadata


def scripts() -> ScriptDirectory:
    """The forms that this release knows."""
    return ScriptDirectory.from_config(_config())


def migrate(connection: Connection, where: str, *, to: str = "head") -> None:
    """Do it in the transaction of the connection. Raises UnusableLedgerError as `check` does."""
    if check(connection, where) != scripts().as_revision_number(to):
        command.upgrade(_config(connection), to)


def check(connection: Connection, where: str, *, must_be_current: bool = False) -> str | None:
    """The form that it has, None for one that is empty.

    Raises UnusableLedgerError for one of a newer release, for what is no ledger of ours, and, where it must be current,
    for one of an older release.
    """
    context = MigrationContext.configure(connection, opts={"version_table": REVISION_TABLE})
    has = context.get_current_revision()
    known = scripts()
    if has is None and (strangers := sorted(metadata.tables.keys() & set(inspect(connection).get_table_names()))):
        raise UnusableLedgerError(
            f"{where} has tables of somebody else ({', '.join(strangers)}): give MSO a database of its own"
        )
    if has is not None and has not in {script.revision for script in known.walk_revisions()}:
        raise UnusableLedgerError(
            f"{where} was written by a newer release of MSO (its form is {has}, this release knows up to "
            f"{known.get_current_head()}): run that release, or name another ledger"
        )
    if must_be_current and has != known.get_current_head():
        raise OutdatedLedgerError(
            f"{where} has the form of an older release of MSO ({has or 'none'}): start the service once, it migrates it"
        )
    return has


def _config(connection: Connection | None = None) -> Config:
    logging.getLogger("alembic").setLevel(logging.WARNING)
    config = Config(attributes={"connection": connection, "revision_table": REVISION_TABLE})
    # It is read by configparser, which takes a % for a variable.
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config
