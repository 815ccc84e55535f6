"""Admission: which runs may be deployed now, where only so many models may live at once. Pure.

Runs are admitted whole and in order of arrival. A simulation cannot begin before all of its models are ready, so halves
of two would wait for each other for ever.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from mso.model import ModelKey, RunKey


@dataclass(slots=True, eq=False)
class Waiting:
    """A run, or what joined one, that waits for room."""

    run: RunKey
    expected: int
    """Of how many models an order told us; fewer have come while they are still being added."""
    models: list[ModelKey] = field(default_factory=list)
    told: bool = False


class Admission:
    """Who wants in, and who is in. `is_complete` tells whether all parts of a run's request have come."""

    def __init__(self, limit: int | None, is_complete: Callable[[RunKey], bool]) -> None:
        self._limit = limit
        self._is_complete = is_complete
        self._active: set[ModelKey] = set()
        self._admitted: set[RunKey] = set()
        self._waiting: dict[RunKey, Waiting] = {}

    @property
    def active(self) -> int:
        """Models that are in, and have not ended."""
        return len(self._active)

    @property
    def waiting(self) -> tuple[Waiting, ...]:
        """Who waits, the first in line first."""
        return tuple(self._waiting.values())

    def expect(self, run: RunKey, models: int) -> None:
        """A run was opened, with so many models that are about to be added."""
        self._waiting[run] = Waiting(run, models)

    def add(self, key: ModelKey) -> None:
        """A model wants in: with its run, or on its own where the run is in already."""
        self._waiting.setdefault(key.run_key, Waiting(key.run_key, 0)).models.append(key)

    def adopt(self, run: RunKey, living: Iterable[ModelKey]) -> None:
        """A run was found that is in already."""
        self._admitted.add(run)
        self._active.update(living)

    def ended(self, key: ModelKey) -> None:
        """A model has ended, wherever it was."""
        self._active.discard(key)
        waiting = self._waiting.get(key.run_key)
        if waiting and key in waiting.models:
            waiting.models.remove(key)
            waiting.expected = 0

    def release(self, run: RunKey) -> list[ModelKey]:
        """The run is being stopped: whoever waits of it waits no longer."""
        waiting = self._waiting.pop(run, None)
        return waiting.models if waiting else []

    def forget(self, run: RunKey) -> None:
        """The run has ended."""
        self._admitted.discard(run)
        self._waiting.pop(run, None)

    def admit(self) -> list[ModelKey]:
        """Those that may be deployed from now on, in order of arrival."""
        admitted: list[ModelKey] = []
        for run, waiting in list(self._waiting.items()):
            if run not in self._admitted and (len(waiting.models) < waiting.expected or not self._is_complete(run)):
                continue  # the rest of it is on its way; that holds up nobody
            if self._limit is not None and len(self._active) + len(waiting.models) > self._limit:
                break
            del self._waiting[run]
            self._admitted.add(run)
            self._active.update(waiting.models)
            admitted += waiting.models
        return admitted
