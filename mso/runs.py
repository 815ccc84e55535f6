"""Runs: what is known of one run of a simulation, and of one id. Pure; changed by the inventory alone."""

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from mso.model import Model, ModelId, Order, Request, RunKey, State

REMEMBERED_REQUESTS = 1_000
"""How many request ids of one simulation are remembered, to open no second run for them."""


@dataclass(slots=True, eq=False)
class Run:
    """One run of a simulation; changed by the inventory alone, read by everybody."""

    key: RunKey
    request: Request
    models: dict[ModelId, Model] = field(default_factory=dict)
    unready: set[ModelId] = field(default_factory=set)
    living: set[ModelId] = field(default_factory=set)
    failures: int = 0
    announced: bool = False
    """SimulationReady was emitted, by this process or by an earlier one."""
    stopping: bool = False
    removing_since: datetime | None = None
    ended_at: datetime | None = None
    reported_at: datetime | None = None
    digests: set[str] = field(default_factory=set)
    request_ids: set[str] = field(default_factory=set)
    deliveries: set[tuple[str, int]] = field(default_factory=set)
    """Digests of requests, with the packet identifiers under which they came."""
    doubtful: bool = False
    """It lived when an earlier process knew it last: which deliveries that one took in the end is not known."""

    def put(self, model: Model) -> None:
        before = self.models.get(model.key.model)
        self.failures += (model.state is State.FAILED) - (before is not None and before.state is State.FAILED)
        self.models[model.key.model] = model
        (self.unready.discard if model.ready else self.unready.add)(model.key.model)
        (self.living.discard if model.state.terminal else self.living.add)(model.key.model)

    def note(self, request: Request) -> None:
        self.request = request
        self.digests.add(request.digest)
        if request.request_id:
            self.request_ids.add(request.request_id)


@dataclass(slots=True, eq=False)
class Simulation:
    """What is remembered of one id: the runs that are still somewhere, and how the last one was asked for."""

    runs: dict[int, Run] = field(default_factory=dict)
    last_run: int = 0
    last_digests: set[str] = field(default_factory=set)
    last_deliveries: set[tuple[str, int]] = field(default_factory=set)
    last_doubtful: bool = False
    earlier_deliveries: OrderedDict[tuple[str, int], None] = field(default_factory=OrderedDict)
    """Those of the runs before the last."""
    request_ids: OrderedDict[str, None] = field(default_factory=OrderedDict)

    def note(self, request_id: str) -> None:
        """Remember a request, and forget the oldest of too many."""
        if request_id:
            self.request_ids[request_id] = None
            if len(self.request_ids) > REMEMBERED_REQUESTS:
                self.request_ids.popitem(last=False)

    def remember(self, run: Run) -> None:
        """The run is the last one, unless a later one is known."""
        if run.key.run >= self.last_run:
            self.note_earlier(self.last_deliveries)
            self.last_run, self.last_digests = run.key.run, run.digests
            self.last_deliveries, self.last_doubtful = run.deliveries, run.doubtful
        for request_id in run.request_ids:
            self.note(request_id)

    def note_earlier(self, deliveries: Iterable[tuple[str, int]]) -> None:
        """Remember what a run before the last took, and forget the oldest of too many."""
        for delivery in deliveries:
            self.earlier_deliveries[delivery] = None
            if len(self.earlier_deliveries) > REMEMBERED_REQUESTS:
                self.earlier_deliveries.popitem(last=False)

    def is_of_earlier_run(self, order: Order, live: Run) -> bool:
        """Whether an order comes once more that a run took which is over: the live one is not to be joined by it."""
        request = order.request
        if request.request_id in self.request_ids and request.request_id not in live.request_ids:
            return True
        return order.redelivered and (request.digest, order.delivery) in self.earlier_deliveries

    def has_taken(self, order: Order) -> bool:
        """Whether an order that finds no live run is one that the last run took, and no rerun.

        A rerun has the same bytes. But what the broker delivers again comes under the packet identifier of before: one
        that no order of the last run had was never taken, although it may have been delivered to a process that died.
        """
        request = order.request
        if request.request_id and request.request_id in self.request_ids:
            return True
        if not order.redelivered or request.digest not in self.last_digests:
            return False
        known = (request.digest, order.delivery) in self.last_deliveries
        return known or not order.delivery or self.last_doubtful

    @property
    def newest(self) -> Run | None:
        return self.runs.get(self.last_run)

    @property
    def live(self) -> Run | None:
        return next((run for run in self.runs.values() if run.ended_at is None), None)
