"""What must outlive the process. This docstring and those of `Ledger` are the contract; tests/ledger holds it to them.

A ledger keeps what it is told, in the order in which it is told, and decides nothing.

- A commit is all or nothing, and durable when it returns: also through kill -9 and a loss of power. The same once more
  leaves what it left, so it may be tried again when nobody knows whether it was kept.
- Only the last one that *claimed* the ledger can write to it. Whoever was deposed and does not know it yet finds out at
  its next commit, of which nothing is kept.
- What it kept is also the history that people ask for after the pods are gone, until that is pruned.
- Whatever time may mend is a `LedgerError`: try again. `DeposedError` and `UnusableLedgerError` are final.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol, Self

from mso.model import Attempt, Model, ModelKey, Request, RunKey, State
from mso.outbox import Row


class LedgerError(Exception):
    """It could not be done now: the disk is full, the server is away. Nothing of it was kept.

    But where the server went away while it kept it, or the disk hangs: then it may have been kept, all of it.
    """


class DeposedError(Exception):
    """Another process has claimed the ledger since: this one must not act any more."""


class UnusableLedgerError(Exception):
    """This release cannot use it, and says in one line why and what to do: it is of a newer one, for instance."""


class OutdatedLedgerError(UnusableLedgerError):
    """It has the form of an older release, or none yet, and was opened to be read only: a service would migrate it."""


# -- what is written ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RunRecord:
    """All that is known of a run but its models."""

    key: RunKey
    request: Request
    """The last that was taken; it says who asked, in which protocol, and on which terms."""
    announced: bool = False
    """Its ModelsReady was put into the outbox, once and for all."""
    stopping: bool = False
    removing_since: datetime | None = None
    ended_at: datetime | None = None
    reported_at: datetime | None = None
    """The broker acknowledged its AllModelsHaveTerminated."""


@dataclass(frozen=True, slots=True)
class RunKept:
    """The run as it is now, in place of what was kept of it before. A run that was forgotten stays so."""

    record: RunRecord


@dataclass(frozen=True, slots=True)
class RequestKept:
    """A request that a run took, and under which packet identifier: it opens no other one. Kept twice is kept once."""

    run: RunKey
    digest: str
    request_id: str = ""
    delivery: int = 0


@dataclass(frozen=True, slots=True)
class ModelAsked:
    """A model that was asked for, or adopted: all of it, in place of what was kept of it before.

    It keeps its place among the others; of its attempt and its lines nothing is known any more.
    """

    model: Model


@dataclass(frozen=True, slots=True)
class ModelStands:
    """How a model that was asked for before stands now: all of it but its specification and its request."""

    model: Model


@dataclass(frozen=True, slots=True)
class AttemptDeployed:
    """The attempt was seen where models run: once it is missing there, it is gone."""

    attempt: Attempt


@dataclass(frozen=True, slots=True)
class LinesKept:
    """The last that a model wrote, oldest first, and what its backplane had to complain of. For the history.

    What not every database can hold, NUL characters and lone surrogates, becomes U+FFFD, here as in messages.
    """

    key: ModelKey
    lines: tuple[str, ...] = field(repr=False)
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RowPut:
    """A message that waits to be told. Numbers rise, and are never given twice."""

    row: Row


@dataclass(frozen=True, slots=True)
class RowReleased:
    """A held row may go from now on, with this payload."""

    number: int
    payload: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class RowSent:
    """A row is about to be handed to the broker, and the witness watches under this token. ModelsReady only."""

    number: int
    witness: str


@dataclass(frozen=True, slots=True)
class RowDone:
    """Nothing is left to do about a row: the broker has it, or it was withheld for good."""

    number: int
    withheld: bool = False


@dataclass(frozen=True, slots=True)
class RunForgotten:
    """Nothing of the run is left where models run. From here on it is history."""

    run: RunKey
    at: datetime


@dataclass(frozen=True, slots=True)
class Noted:
    """A value under a name of our own, in place of the one before."""

    name: str
    value: str


Entry = (
    RunKept
    | RequestKept
    | ModelAsked
    | ModelStands
    | AttemptDeployed
    | LinesKept
    | RowPut
    | RowReleased
    | RowSent
    | RowDone
    | RunForgotten
    | Noted
)


# -- what is read ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class KnownModel:
    """A model as it stood at the last commit."""

    model: Model
    deployed: bool
    """Whether its current attempt was noted as deployed."""


@dataclass(frozen=True, slots=True)
class KnownRun:
    """A run as it stood at the last commit."""

    record: RunRecord
    requests: tuple[RequestKept, ...]
    models: tuple[KnownModel, ...]
    """Empty for a run that is bygone."""


@dataclass(frozen=True, slots=True)
class Recovered:
    """All that a new process has to know."""

    runs: tuple[KnownRun, ...]
    """Those that were not forgotten, in the order in which they were opened."""
    bygone: tuple[KnownRun, ...]
    """The last run of each simulation, where that was forgotten, whatever those before it were: runs are counted on
    from it. The latest forgotten come last."""
    taken: tuple[RequestKept, ...]
    """Requests that any run took that is still history, the latest last."""
    rows: tuple[Row, ...]
    """Those that are not done, by their numbers."""
    last_row: int
    """The highest number that was ever given to a row; 0 if none was."""
    notes: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class RunSummary:
    """A run for people who look back."""

    record: RunRecord
    opened_at: datetime | None
    """When its first model was asked for."""
    tally: Mapping[State, int]
    """How many of its models stand how; what none does is not in it."""
    undeployed: int = 0
    """How many of them have not ended, and were not seen yet where they are to run."""

    @property
    def standing(self) -> str:
        """In a word or two: not ready, ready, stopping or ended."""
        if self.record.ended_at:
            return "ended"
        if self.record.stopping:
            return "stopping"
        return "ready" if self.record.announced else "not ready"


@dataclass(frozen=True, slots=True)
class PastModel:
    """A model for people who look back."""

    model: Model
    lines: tuple[str, ...] = field(repr=False)
    warnings: tuple[str, ...] = ()
    deployed: bool = False
    """Whether its current attempt was seen where models run."""


class Ledger(Protocol):
    """Open it with `async with`. No call blocks the event loop; calls are served one after the other."""

    async def __aenter__(self) -> Self:
        """Open it, bring its form up to date. Raises UnusableLedgerError, and LedgerError where time may help.

        One that is damaged is set aside, and another, empty one takes its place; so it is when `recover` finds it out.
        """
        ...

    async def __aexit__(self, *exc_info: object) -> None: ...

    async def claim(self) -> int:
        """Be the only writer from now on; the new epoch. Raises LedgerError."""
        ...

    async def commit(self, entries: Sequence[Entry]) -> None:
        """Keep all of it, in this order, or nothing. Raises LedgerError, DeposedError, UnusableLedgerError."""
        ...

    async def recover(self) -> Recovered:
        """What a new process has to know. Raises LedgerError, UnusableLedgerError."""
        ...

    async def told(self, since: datetime) -> tuple[Row, ...]:
        """The rows about ends that were done, of runs that live or have ended since then, by their numbers.

        For a broker that has lost its memory. ModelsReady is never among them. Raises LedgerError.
        """
        ...

    async def runs(self, simulation: str = "", limit: int = 1000, *, left: bool = False) -> tuple[RunSummary, ...]:
        """Runs of a simulation, or of all, the last opened first. Raises LedgerError.

        `left`: only those of which something is left where models run; they live, or their logs are kept.
        """
        ...

    async def models(self, run: RunKey) -> tuple[PastModel, ...]:
        """The models of a run, in the order in which they were asked for. Raises LedgerError."""
        ...

    async def withheld(self, simulation: str) -> Row | None:
        """The ModelsReady of the simulation's last run, if it was withheld and the run lives. Raises LedgerError."""
        ...

    async def take_withheld(self, simulation: str) -> Row | None:
        """The same, and from now on it is not withheld any more: for whoever is about to send it. Needs no claim.

        Of several who ask one gets it. Raises LedgerError.
        """
        ...

    async def prune(self, before: datetime) -> int:
        """Delete the history of what was forgotten before then; how many runs that were.

        The last run of a simulation is deleted as well, but not one that is not forgotten, or of which a row is not
        done. Rows that are done and that `told` will hardly be asked for go too: of no run, or of one that ended two
        hours ago. Raises LedgerError, DeposedError, UnusableLedgerError.
        """
        ...
