"""The metrics, as Prometheus reads them."""

import ast
import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from prometheus_client.parser import text_string_to_metric_families

import mso.intake
from mso.inventory import Inventory
from mso.model import ModelSpec, Ready, Reason, Succeeded
from mso.observers.metrics import REFUSALS, Metrics
from mso.outbox import Kind, Outbox
from tests.builders import RUN, Clock, a_row, attempt, crash, order, spec
from tests.happening import running


class Scrape:
    """Metrics over an inventory and an outbox, and how they read."""

    def __init__(self) -> None:
        self.inventory = Inventory()
        self.outbox = Outbox()
        self.metrics = Metrics(self.inventory, self.outbox)
        self.inventory.subscribe(self.metrics.observe)

    def ask(self, *models: str | ModelSpec, simulation: str = "sim-1") -> None:
        self.inventory.add(order(*models, simulation=simulation))

    def read(self, family: str) -> dict[str, float]:
        """The samples of a family by the value of their label, "" for one that has none."""
        return dict(self._samples(family))

    def counted(self, family: str) -> dict[str, float]:
        """Those of a counter that are more than 0."""
        return {label: value for label, value in self._samples(family) if value}

    def _samples(self, family: str) -> Iterator[tuple[str, float]]:
        for metric in text_string_to_metric_families(self.metrics.exposition().decode()):
            for sample in metric.samples:
                if sample.name == family:
                    (label,) = sample.labels.values() or ("",)
                    yield label, sample.value


def test_models_are_counted_by_their_state() -> None:
    """Those that are known, ended or not; a state that nobody is in has its zero."""
    scrape = Scrape()
    assert scrape.read("mso_models") == {"created": 0, "running": 0, "succeeded": 0, "failed": 0}
    scrape.ask(*"abcdefghij")
    for name in "bcd":
        scrape.inventory.apply(attempt(name), Ready())
    for name in "ce":
        scrape.inventory.apply(attempt(name), Succeeded())
    scrape.inventory.apply(attempt("f"), crash())
    assert scrape.read("mso_models") == {"created": 5, "running": 2, "succeeded": 2, "failed": 1}


def test_a_model_of_which_nothing_is_left_is_counted_no_more() -> None:
    """Months pass without a restart: what was removed is forgotten here too."""
    scrape = Scrape()
    scrape.ask("a")
    scrape.inventory.apply(attempt("a"), Succeeded())
    scrape.inventory.forget(RUN)
    assert sum(scrape.read("mso_models").values()) == 0


def test_simulations_that_have_not_ended_are_counted() -> None:
    """One that is kept for its logs has."""
    scrape = Scrape()
    scrape.ask("a")
    scrape.ask("a", simulation="sim-2")
    assert scrape.read("mso_simulations_live") == {"": 2}
    scrape.inventory.apply(attempt("a"), Succeeded())
    assert scrape.read("mso_simulations_live") == {"": 1}


def test_failures_are_counted_by_their_reason() -> None:
    """A model once, at the end of its last attempt."""
    scrape = Scrape()
    scrape.ask("a", "b", spec("c", retries=1), "d")
    scrape.inventory.apply(attempt("a"), crash())
    scrape.inventory.apply(attempt("b"), crash())
    scrape.inventory.apply(attempt("c"), crash())
    scrape.inventory.apply(attempt("c", 2), crash(137, Reason.OOM_KILLED))
    scrape.inventory.apply(attempt("d"), Succeeded())
    assert scrape.counted("mso_model_failures_total") == {"Error": 2, "OOMKilled": 1}


def test_retries_are_counted() -> None:
    """Each attempt that failed with another left."""
    scrape = Scrape()
    assert scrape.read("mso_model_retries_total") == {"": 0}
    scrape.ask(spec("a", retries=2), "b")
    scrape.inventory.apply(attempt("b"), crash())
    for number in (1, 2, 3):
        scrape.inventory.apply(attempt("a", number), crash())
    assert scrape.read("mso_model_retries_total") == {"": 2}


def test_deployments_are_counted_by_their_outcome() -> None:
    """Of attempts."""
    scrape = Scrape()
    for outcome in ("succeeded", "failed", "succeeded"):
        scrape.metrics.deployed(outcome, 0.2)
    assert scrape.read("mso_deploys_total") == {"succeeded": 2, "failed": 1}
    assert scrape.read("mso_deploy_seconds_count") == {"": 3}
    assert scrape.read("mso_deploy_seconds_sum") == {"": pytest.approx(0.6)}
    assert scrape.read("mso_deploy_seconds_bucket") | {"0.1": 0, "0.25": 3} == scrape.read("mso_deploy_seconds_bucket")


def test_messages_that_the_broker_has_are_counted_by_their_kind() -> None:
    """Terminations have a count of their own, too."""
    scrape = Scrape()
    assert scrape.read("mso_terminations_sent_total") == {"": 0}
    for kind in (*Kind, Kind.TERMINATION):
        scrape.metrics.sent(kind)
    assert scrape.read("mso_messages_sent_total") == {
        "models_ready": 1,
        "termination": 2,
        "error_occurred": 1,
        "all_terminated": 1,
        "rejection": 1,
    }
    assert scrape.read("mso_terminations_sent_total") == {"": 2}


def test_messages_that_are_not_acted_on_are_counted_by_the_reason() -> None:
    """In the word that the intake has for it."""
    scrape = Scrape()
    for why in ("retained", "undecodable", "retained"):
        scrape.metrics.refused(why)
    assert scrape.counted("mso_messages_refused_total") == {"retained": 2, "undecodable": 1}


def test_the_reasons_for_not_acting_on_a_message_are_those_of_the_intake() -> None:
    """Each is there from the start, at 0: the first time is an increase that an alert can see."""
    assert set(Scrape().read("mso_messages_refused_total")) == set(REFUSALS)
    said = set()
    for node in ast.walk(ast.parse(Path(mso.intake.__file__).read_text())):
        match node:
            case ast.Call(
                func=ast.Name("_Refused") | ast.Attribute(attr="_count_refused"), args=[ast.Constant(word), *_]
            ):
                said.add(word)
            case _:
                pass
    assert said == set(REFUSALS)


def test_what_can_go_wrong_is_counted_from_the_start() -> None:
    """A series that begins with its first count shows Prometheus no increase."""
    scrape = Scrape()
    assert scrape.read("mso_deploys_total") == {"succeeded": 0, "failed": 0}
    assert scrape.read("mso_model_failures_total") == {reason: 0 for reason in Reason if reason != "Completed"}
    assert scrape.read("mso_ledger_failures_total") == {"": 0}


def test_transactions_that_fail_are_counted() -> None:
    """Each try."""
    scrape = Scrape()
    scrape.metrics.commit_failed()
    scrape.metrics.commit_failed()
    assert scrape.read("mso_ledger_failures_total") == {"": 2}


def test_what_the_api_answers_is_counted_by_its_status() -> None:
    """Where no answer came, that."""
    scrape = Scrape()
    for status in ("201", "201", "429", "none"):
        scrape.metrics.answered("POST", status)
    text = scrape.metrics.exposition().decode()
    assert 'mso_kubernetes_requests_total{method="POST",status="201"} 2.0' in text
    assert 'mso_kubernetes_requests_total{method="POST",status="none"} 1.0' in text


def test_whether_it_is_ready_and_whether_it_stands_by_is_what_was_said_last() -> None:
    """Whoever asks for the metrics finds that out first."""
    scrape = Scrape()
    assert (scrape.read("mso_ready"), scrape.read("mso_standby")) == ({"": 0}, {"": 0})
    scrape.metrics.ready = scrape.metrics.standby = True
    assert (scrape.read("mso_ready"), scrape.read("mso_standby")) == ({"": 1}, {"": 1})


async def test_a_step_that_takes_long_shows_as_lag(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who wakes up late was kept from it."""
    monkeypatch.setattr("mso.observers.metrics.LAG_EVERY_SECONDS", 0.01)
    scrape = Scrape()
    async with running(scrape.metrics.measure_lag()):
        await asyncio.sleep(0)
        time.sleep(0.2)
        while not scrape.read("mso_loop_lag_seconds_count")[""]:
            await asyncio.sleep(0)
    assert scrape.read("mso_loop_lag_seconds_sum")[""] >= 0.15


def test_messages_that_wait_for_the_broker_are_counted() -> None:
    """Until it has them."""
    scrape = Scrape()
    scrape.outbox.put(a_row())
    assert scrape.read("mso_outbox_rows") == {"": 1}
    taken = scrape.outbox.take()
    assert taken
    assert scrape.read("mso_outbox_rows") == {"": 1}
    scrape.outbox.done(taken)
    assert scrape.read("mso_outbox_rows") == {"": 0}


def test_the_connection_to_the_broker_is_asked_for_when_it_is_read() -> None:
    """1 while there is one."""
    scrape = Scrape()
    assert scrape.read("mso_broker_connected") == {"": 0}
    scrape.metrics.broker_connected = lambda: True
    assert scrape.read("mso_broker_connected") == {"": 1}


def test_the_age_of_the_last_listing_grows_until_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the first one there is none to be old."""
    clock = Clock()
    monkeypatch.setattr("mso.observers.metrics.time", SimpleNamespace(monotonic=lambda: clock().timestamp()))
    scrape = Scrape()
    assert scrape.read("mso_last_listing_age_seconds") == {}
    scrape.metrics.note_listing()
    clock.move(30)
    assert scrape.read("mso_last_listing_age_seconds") == {"": 30}
    scrape.metrics.note_listing()
    assert scrape.read("mso_last_listing_age_seconds") == {"": 0}


def test_two_services_in_one_process_count_for_themselves() -> None:
    """There is no registry that they share."""
    one, other = Scrape(), Scrape()
    one.metrics.deployed("succeeded", 0.2)
    assert (one.counted("mso_deploys_total"), other.counted("mso_deploys_total")) == ({"succeeded": 1}, {})


def test_the_process_itself_is_measured() -> None:
    """Its memory is what an operator asks for first."""
    assert "python_info{" in Scrape().metrics.exposition().decode()
