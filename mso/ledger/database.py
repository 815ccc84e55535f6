"""A database that can hold a ledger, as sql.py sees it: sqlite.py and postgresql.py are the two that there are."""

from dataclasses import dataclass
from typing import Any, Protocol

from sqlalchemy import Engine

ENGINE_SETTINGS: dict[str, Any] = {
    "hide_parameters": True,  # they would stand in the text of every error, passwords and all
    "pool_size": 1,
    "max_overflow": 0,
}


@dataclass(frozen=True, slots=True)
class Engines:
    """Two ways into one pool: their transactions begin differently."""

    reader: Engine
    """Each transaction sees the ledger as it was at one instant."""
    writer: Engine
    """Each transaction that reads the epoch keeps others from claiming until it ends."""

    def close(self) -> None:
        self.writer.dispose()


class Database(Protocol):
    """Its methods block, and are called on one thread. They raise what `troubles.explain` names."""

    @property
    def name(self) -> str:
        """What it is called in errors: without a password."""
        ...

    def open(self) -> Engines:
        """Ready for use: it exists, is whole, and has the form of this release."""
        ...

    def confirm(self) -> None:
        """Make sure that what was just committed is where the next process looks for it."""
        ...

    def set_aside(self, why: str) -> None:
        """It is damaged: once it is closed, `open` makes a new one. Raises UnusableLedgerError where it cannot."""
        ...
