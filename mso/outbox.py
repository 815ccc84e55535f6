"""The outbox: what is waiting to be told, and in which order it may go. Pure and in memory.

A row leaves it only when the broker acknowledged it. Rows of different simulations do not wait for each other. Within
one simulation a *barrier* (ModelsReady, AllModelsHaveTerminated) goes when everything before it was acknowledged, and
nothing goes past it; other rows overtake a *held* one. (docs/protocol.md, *Promises*.)
"""

import heapq
from collections import deque
from dataclasses import dataclass, field
from enum import Enum, auto

from mso.model import RunKey, SimulationId


class Kind(Enum):
    """What a row tells; the rules of sending differ by it."""

    MODELS_READY = auto()
    TERMINATION = auto()
    ERROR_OCCURRED = auto()
    ALL_TERMINATED = auto()
    REJECTION = auto()

    @property
    def barrier(self) -> bool:
        return self in (Kind.MODELS_READY, Kind.ALL_TERMINATED)


@dataclass(slots=True, eq=False)
class Row:
    """One message to a simulation orchestrator."""

    number: int
    kind: Kind
    simulation: SimulationId
    topic: str
    payload: bytes = field(repr=False)
    run: RunKey | None = None
    """None for a message about no run: a rejection."""
    about: str = ""
    """The id of the model that it is about, for the log."""
    held: bool = False
    witness: str = ""
    """The token under which the witness watches for it: since then it may have gone out. ModelsReady only."""
    open: bool = False
    """No barrier is before it any more."""

    def __lt__(self, other: "Row") -> bool:
        return self.number < other.number


@dataclass(slots=True, eq=False)
class _Queue:
    """The rows of one simulation: those before the next barrier are open (counted), the others wait behind it."""

    open: int = 0
    closed: bool = False
    """A barrier is among the open ones: it is alone there."""
    waiting: deque[Row] = field(default_factory=deque)


class Outbox:
    """Rows in, rows out; who sends them says what became of each: `done` or `lost`."""

    def __init__(self) -> None:
        self._queues: dict[SimulationId, _Queue] = {}
        self._sendable: list[Row] = []
        self._rows: dict[int, Row] = {}

    def __len__(self) -> int:
        """Rows that the broker has not acknowledged."""
        return len(self._rows)

    def put(self, row: Row) -> None:
        """Add a row behind all others of its simulation. Its number is higher than theirs."""
        self._rows[row.number] = row
        queue = self._queues.setdefault(row.simulation, _Queue())
        queue.waiting.append(row)
        self._advance(queue)

    def withdraw(self, kind: Kind, run: RunKey) -> Row | None:
        """Take back the row of this kind that waits to tell of a run; None if there is none, or it is on its way."""
        for row in self._rows.values():
            if row.kind is kind and row.run == run:
                if not row.open:
                    queue = self._queues[row.simulation]
                    queue.waiting.remove(row)
                    del self._rows[row.number]
                    self._advance(queue)
                elif row in self._sendable:
                    self._sendable.remove(row)
                    heapq.heapify(self._sendable)
                    self.done(row)
                else:
                    return None
                return row
        return None

    def release(self, number: int, payload: bytes) -> None:
        """A held row may go from now on, with this payload. Released or sent before is harmless."""
        row = self._rows.get(number)
        if row is None or not row.held:
            return
        row.held, row.payload = False, payload
        if row.open:
            heapq.heappush(self._sendable, row)

    def take(self) -> Row | None:
        """The oldest row that may go now. It is in flight until `done` or `lost` is said of it."""
        return heapq.heappop(self._sendable) if self._sendable else None

    def done(self, row: Row) -> None:
        """The broker acknowledged it."""
        if self._rows.pop(row.number, None) is None:
            return
        queue = self._queues[row.simulation]
        queue.open -= 1
        if queue.open == 0:
            queue.closed = False
            self._advance(queue)
            if not queue.open:
                del self._queues[row.simulation]

    def lost(self, row: Row) -> None:
        """The connection ended before an acknowledgement came: it goes again, in its old place."""
        if row.number in self._rows:
            heapq.heappush(self._sendable, row)

    def _advance(self, queue: _Queue) -> None:
        while queue.waiting and not queue.closed:
            row = queue.waiting[0]
            if row.kind.barrier:
                if queue.open:
                    return
                queue.closed = True
            queue.waiting.popleft()
            row.open = True
            queue.open += 1
            if not row.held:
                heapq.heappush(self._sendable, row)
