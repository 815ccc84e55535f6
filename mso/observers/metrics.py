"""Metrics: counted as it happens, or read from the inventory when Prometheus asks."""

import time
from collections import Counter as Tally
from collections.abc import Callable, Iterable, Sequence

from prometheus_client import CollectorRegistry, Counter, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from mso.admission import Waiting
from mso.changes import Change, ModelChanged
from mso.inventory import Inventory
from mso.model import Failed, State
from mso.outbox import Kind, Outbox


class Metrics(Collector):
    """One registry a service, so that two of them in one process do not meet."""

    def __init__(self, inventory: Inventory, outbox: Outbox) -> None:
        self._inventory = inventory
        self._outbox = outbox
        self.broker_connected: Callable[[], bool] = lambda: False
        self.waiting: Callable[[], Sequence[Waiting]] = tuple
        self._last_listing: float | None = None
        self.registry = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self.registry)
        self._deploys = Counter("mso_deploys", "Deployments of an attempt", ["outcome"], registry=self.registry)
        self._failures = Counter("mso_model_failures", "Models that failed", ["reason"], registry=self.registry)
        self._retries = Counter("mso_model_retries", "Attempts that failed with another left", registry=self.registry)
        self._sent = Counter(
            "mso_messages_sent", "Messages acknowledged by the broker", ["kind"], registry=self.registry
        )
        self._terminations = Counter(
            "mso_terminations_sent", "ModelHasTerminated acknowledged by the broker", registry=self.registry
        )
        self._refused = Counter("mso_messages_refused", "Messages not acted on", ["why"], registry=self.registry)
        self.registry.register(self)

    def observe(self, change: Change) -> None:
        """Count failures and retries."""
        match change:
            case ModelChanged(model=model, event=Failed()):
                self._failures.labels(str(model.reason)).inc()
            case ModelChanged(before=before, model=model) if before.attempt != model.attempt:
                self._retries.inc()
            case _:
                pass

    def note_listing(self) -> None:
        """The backplane has just been listed whole."""
        self._last_listing = time.monotonic()

    def deployed(self, outcome: str) -> None:
        """`outcome`: succeeded, failed."""
        self._deploys.labels(outcome).inc()

    def sent(self, kind: Kind) -> None:
        self._sent.labels(kind.name.lower()).inc()
        if kind is Kind.TERMINATION:
            self._terminations.inc()

    def refused(self, why: str) -> None:
        """`why`: a word of a small set, for it becomes a label."""
        self._refused.labels(why).inc()

    def collect(self) -> Iterable[Metric]:
        """What is read at the time of asking (called by prometheus-client)."""
        tally = Tally(model.state for run in self._inventory.runs() for model in run.models.values())
        models = GaugeMetricFamily("mso_models", "Models that are known, by state", labels=["state"])
        for state in State:
            models.add_metric([state.value], tally[state])
        yield models
        yield GaugeMetricFamily(
            "mso_simulations_live",
            "Runs that have not ended",
            value=sum(run.ended_at is None for run in self._inventory.runs()),
        )
        waiting = self.waiting()
        yield GaugeMetricFamily("mso_simulations_waiting", "Runs that wait for room", value=len(waiting))
        yield GaugeMetricFamily(
            "mso_models_waiting", "Models of runs that wait for room", value=sum(len(one.models) for one in waiting)
        )
        yield GaugeMetricFamily("mso_outbox_rows", "Messages that wait for the broker", value=len(self._outbox))
        yield GaugeMetricFamily("mso_broker_connected", "1 while connected", value=float(self.broker_connected()))
        if self._last_listing is not None:
            yield GaugeMetricFamily(
                "mso_last_listing_age_seconds",
                "Time since the last full listing of the backplane",
                value=time.monotonic() - self._last_listing,
            )

    def exposition(self) -> bytes:
        """The text format of Prometheus."""
        return generate_latest(self.registry)
