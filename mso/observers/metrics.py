"""Metrics: counted as it happens, or read from the inventory when Prometheus asks.

The help of each is what docs/configuration.md says of it (ci/build_docs.sh). A label whose values are known has all of
them from the start, at 0: Prometheus sees no increase in the first value of a series.
"""

import asyncio
import time
from collections import Counter as Tally
from collections.abc import Callable, Iterable, Sequence

from prometheus_client import CollectorRegistry, Counter, GCCollector, Histogram, PlatformCollector, ProcessCollector
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from mso.admission import Waiting
from mso.changes import Change, ModelChanged
from mso.inventory import Inventory
from mso.model import Failed, Reason, State
from mso.outbox import Kind, Outbox

REFUSALS = (
    "malformed_topic",
    "retained",
    "unknown_simulator",
    "rejected",
    "undecodable",
    "too_large",
    "unknown_simulation",
    "foreign_simulation",
    "unknown_model",
    "handler_raised",
    "adjusted",
)
"""The words of the intake (mso/intake.py) for what it did not act on."""
DEPLOY_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
LAG_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 60)
LAG_EVERY_SECONDS = 1.0


class Metrics(Collector):
    """One registry a service, so that two of them in one process do not meet."""

    def __init__(self, inventory: Inventory, outbox: Outbox) -> None:
        self._inventory = inventory
        self._outbox = outbox
        self.broker_connected: Callable[[], bool] = lambda: False
        self.waiting: Callable[[], Sequence[Waiting]] = tuple
        self.ready = False
        """What `/readyz` says; whoever asks for the metrics sees to it first."""
        self.standby = False
        self._last_listing: float | None = None
        self.registry = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self.registry)
        self._deploys = self._counter(
            "mso_deploys", "attempts that were started, or could not be", outcome=("succeeded", "failed")
        )
        self._deploy_seconds = Histogram(
            "mso_deploy_seconds",
            "how long an attempt took to be started, or to be given up: the tries and the pauses between them",
            buckets=DEPLOY_BUCKETS,
            registry=self.registry,
        )
        self._failures = self._counter(
            "mso_model_failures",
            "models that FAILED; `reason` as in `ModelHasTerminated`",
            reason=[reason.value for reason in Reason if reason is not Reason.COMPLETED],
        )
        self._retries = self._counter("mso_model_retries", "attempts that failed with another left")
        self._sent = self._counter(
            "mso_messages_sent",
            "messages to simulation orchestrators that the broker acknowledged",
            kind=[kind.name.lower() for kind in Kind],
        )
        self._terminations = self._counter("mso_terminations_sent", "of these, `ModelHasTerminated`")
        self._refused = self._counter(
            "mso_messages_refused",
            "messages not acted on; `handler_raised`: put aside; `adjusted`: a part of an order that was taken, but "
            "otherwise than it was meant",
            why=REFUSALS,
        )
        self._ledger_failures = self._counter(
            "mso_ledger_failures", "transactions of the ledger that failed, each of which is tried again"
        )
        self._requests = Counter(
            "mso_kubernetes_requests",
            "requests to the API of the cluster by method and HTTP status, `none` where no answer came; without those "
            "that keep the lease",
            ["method", "status"],
            registry=self.registry,
        )
        self._lag = Histogram(
            "mso_loop_lag_seconds",
            f"how late the event loop woke up, measured every {LAG_EVERY_SECONDS:g} s",
            buckets=LAG_BUCKETS,
            registry=self.registry,
        )
        self.registry.register(self)

    def _counter(self, name: str, meaning: str, **labels: Iterable[str]) -> Counter:
        """One with a label, if any, whose values are all known."""
        counter = Counter(name, meaning, list(labels), registry=self.registry)
        for values in labels.values():
            for value in values:
                counter.labels(value)
        return counter

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

    def deployed(self, outcome: str, seconds: float) -> None:
        """`outcome`: succeeded, failed; and how long that took."""
        self._deploys.labels(outcome).inc()
        self._deploy_seconds.observe(seconds)

    def sent(self, kind: Kind) -> None:
        self._sent.labels(kind.name.lower()).inc()
        if kind is Kind.TERMINATION:
            self._terminations.inc()

    def refused(self, why: str) -> None:
        """`why`: a word of a small set, for it becomes a label."""
        self._refused.labels(why).inc()

    def commit_failed(self) -> None:
        self._ledger_failures.inc()

    def answered(self, method: str, status: str) -> None:
        """By the API of the cluster; `status`: that of HTTP, or none."""
        self._requests.labels(method, status).inc()

    async def measure_lag(self) -> None:
        """Loop: a step that takes long keeps this one from waking up in time."""
        while True:
            due = time.monotonic() + LAG_EVERY_SECONDS
            await asyncio.sleep(LAG_EVERY_SECONDS)
            self._lag.observe(max(0.0, time.monotonic() - due))

    def collect(self) -> Iterable[Metric]:
        """What is read at the time of asking (called by prometheus-client)."""
        tally = Tally(model.state for run in self._inventory.runs() for model in run.models.values())
        models = GaugeMetricFamily(
            "mso_models", "models that are known, those kept for their logs included", labels=["state"]
        )
        for state in State:
            models.add_metric([state.value], tally[state])
        yield models
        yield GaugeMetricFamily(
            "mso_simulations_live",
            "runs that have not ended",
            value=sum(run.ended_at is None for run in self._inventory.runs()),
        )
        waiting = self.waiting()
        yield GaugeMetricFamily(
            "mso_simulations_waiting", "runs that wait for room (`MSO_MAX_ACTIVE_PODS`)", value=len(waiting)
        )
        yield GaugeMetricFamily("mso_models_waiting", "models of these", value=sum(len(one.models) for one in waiting))
        yield GaugeMetricFamily(
            "mso_outbox_rows", "messages that the broker has not acknowledged", value=len(self._outbox)
        )
        yield GaugeMetricFamily(
            "mso_broker_connected", "1 while connected, else 0", value=float(self.broker_connected())
        )
        yield GaugeMetricFamily("mso_ready", "1 while `/readyz` answers 200, else 0", value=float(self.ready))
        yield GaugeMetricFamily(
            "mso_standby", "1 while another MSO is active and this one waits, else 0", value=float(self.standby)
        )
        if self._last_listing is not None:
            yield GaugeMetricFamily(
                "mso_last_listing_age_seconds",
                "time since the backplane was last listed whole; absent before the first listing",
                value=time.monotonic() - self._last_listing,
            )

    def exposition(self) -> bytes:
        """The text format of Prometheus."""
        return generate_latest(self.registry)
