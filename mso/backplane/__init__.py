"""Where models run. This docstring and those of `Backplane` are the contract; tests/contract holds every one to it.

A backplane is a translator and a pipe: it turns a Model into something that runs and what it sees into Observations.
It decides nothing: whether a model failed, is retried, or is removed is the core's and the orchestrator's business.

- What runs is an *attempt* (simulation, run, model, number). Its name follows from these four alone, so that an act
  that comes too late, or comes twice, can only ever meet the attempt that it was meant for.
- What a backplane runs outlives the process that asked for it. A new process that watches finds all of it again, with
  all that is needed to adopt it, and the exit codes of what ended in between.
- An end that a removal brought about carries no `finished_at`: that, and no comparison of clocks, tells it from one
  that the model came to by itself a moment before.
- Whatever does not carry our marks is never touched, and never reported.
- Every error that a caller can do something about is a `BackplaneError`. Anything else is a bug and ends the process.
"""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Protocol, Self

from mso.model import Attempt, Capabilities, End, Mark, Model, Reason, RunKey

__all__ = [
    "Backplane",
    "BackplaneError",
    "Capabilities",
    "DeployError",
    "Listed",
    "Mark",
    "Observation",
    "Recollection",
]


class BackplaneError(Exception):
    """The backplane could not do it now; it may be able to later."""

    retry_after = 0.0
    """Seconds to wait before another try, where the backplane was told so."""


class DeployError(BackplaneError):
    """This attempt can never run: the reason for the wire, and the backplane's own words as the message."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Recollection:
    """What a backplane knows by heart of an attempt it runs: the model as it was asked for, and the run's marks."""

    model: Model
    marks: frozenset[Mark] = frozenset()


@dataclass(frozen=True, slots=True)
class Observation:
    """What is known of one attempt now. A level, not an edge: the same may be said many times."""

    attempt: Attempt
    end: End | None
    """How it ended, or None while it lives."""
    recall: Callable[[], Recollection]
    """Asked only for an attempt that nobody here knows yet: adoption."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A whole listing has been observed: what is not in it was not there at the time it began."""

    began: float
    """time.monotonic() before the first byte was asked for: what was deployed later may rightly be missing."""
    present: frozenset[Attempt]
    """Every attempt of ours that is there, living or ended."""


class Backplane(Protocol):
    """Where models run. Open it with `async with`; closing it leaves the models alone."""

    @property
    def capabilities(self) -> Capabilities: ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *exc_info: object) -> None: ...

    async def deploy(self, model: Model) -> None:
        """Start the model's current attempt. The same attempt twice is one process, also across a kill in between.

        Returns when the attempt is as good as running: from here on a listing shows it.
        Raises DeployError if it never can run, and BackplaneError if it may later: whoever asks tries again.
        """
        ...

    def watch(self) -> AsyncIterator[Observation | Listed]:
        """Everything that is there, then `Listed`, then what changes, then from time to time everything again; endless.

        Trouble with the source is mended inside. An attempt that is found gone without an end is an Observation with
        the end Failed(PodDeleted), or is merely missing from the next `Listed`: both are the truth.
        One watcher at a time.
        """
        ...

    async def tail(self, attempt: Attempt, lines: int) -> tuple[str, ...]:
        """The last lines of what the attempt wrote, oldest first: utf-8 with replacement, from at most the last MiB.

        Raises BackplaneError when there is no log to be had, saying why.
        """
        ...

    async def warnings(self, attempt: Attempt) -> tuple[str, ...]:
        """What the backplane itself has to complain of about the attempt, oldest first; often nothing.

        Raises BackplaneError.
        """
        ...

    async def remove(self, attempt: Attempt) -> None:
        """When this returns the attempt no longer runs. Absent or ended is success. Raises BackplaneError."""
        ...

    async def stop_run(self, run: RunKey) -> None:
        """When this returns nothing of the run lives. What had ended stays, for its logs. Raises BackplaneError."""
        ...

    async def remove_run(self, run: RunKey) -> None:
        """When this returns nothing of the run is left, logs included. Absent is success. Raises BackplaneError."""
        ...

    async def mark(self, run: RunKey, mark: Mark) -> None:
        """Write a mark on the run, durably; a run of which nothing exists takes none. Raises BackplaneError."""
        ...

    async def health(self) -> tuple[str, ...]:
        """What is wrong, in words for an operator; empty when all is well. Never raises, never takes over 5 s."""
        ...
