"""The dashboard and the alerts: all that they ask for is there, and each alert fires in its own trouble only."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from mso.inventory import Inventory
from mso.observers.metrics import Metrics
from mso.outbox import Outbox
from tests.test_docs import DOCS, anchors

DASHBOARD = DOCS / "operate" / "grafana-dashboard.json"
RULES = DOCS / "operate" / "prometheus-rules.yaml"
MONITOR = DOCS / "operate" / "monitor.md"
PROMTOOL = shutil.which("promtool")
OF_PROMETHEUS = {"namespace", "instance", "le"}
"""Labels that the service does not give its series itself."""
NAME = re.compile(r"\b((?:mso|process|python)_\w+)(?:\{([^}]*)\})?")
MATCHER = re.compile(r'(\w+)(=~|!~|!=|=)"([^"]*)"')

needs_promtool = pytest.mark.skipif(
    not PROMTOOL, reason="no promtool here: apt-get install prometheus, or brew install prometheus"
)


def exposed() -> dict[str, dict[str, set[str]]]:
    """What the service exposes: the labels of each series, and their values."""
    metrics = Metrics(Inventory(), Outbox())
    metrics.note_listing()
    metrics.answered("GET", "200")
    series: dict[str, dict[str, set[str]]] = {}
    for metric in metrics.registry.collect():
        for sample in metric.samples:
            labels = series.setdefault(sample.name, {})
            for label, value in sample.labels.items():
                labels.setdefault(label, set()).add(value)
    return series


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(DASHBOARD.read_text())["panels"]
    return found


def rules() -> dict[str, dict[str, Any]]:
    return {rule["alert"]: rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]}


def dashboard_expressions() -> Iterator[str]:
    """With what Grafana puts in for its variables."""
    dashboard = json.loads(DASHBOARD.read_text())
    for panel in dashboard["panels"]:
        for target in panel.get("targets", ()):
            yield _filled(target["expr"])
    for annotation in dashboard["annotations"]["list"]:
        if "expr" in annotation:
            yield _filled(annotation["expr"])


def _filled(expression: str) -> str:
    return re.sub(r"\$__(rate_)?interval", "5m", expression).replace("$namespace", ".*")


EXPRESSIONS = [*dashboard_expressions(), *(rule["expr"] for rule in rules().values())]


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_what_is_asked_for_is_exposed(expression: str) -> None:
    """Every series by its name, its labels, and the values that a label may have."""
    known = exposed()
    asked = NAME.findall(expression)
    assert asked
    for name, selector in asked:
        assert name in known, f"the service exposes no {name}"
        for label, operator, value in MATCHER.findall(selector):
            if label in OF_PROMETHEUS:
                continue
            assert label in known[name], f"{name} has no label {label}"
            if operator in ("=", "!=") or re.fullmatch(r"[\w|]+", value):
                possible = known[name][label] if name != "mso_kubernetes_requests_total" else {value}
                assert set(value.split("|")) <= possible, f"{label} of {name} is never {value}"


@pytest.mark.parametrize("name", sorted({re.sub(r"_(bucket|sum|count)$", "", name) for name in exposed()}))
def test_every_metric_of_the_service_is_on_the_dashboard(name: str) -> None:
    """None is there for nothing; those of Python and the process are as they come."""
    if name.startswith("mso_") and not name.endswith("_created"):
        assert any(re.search(rf"\b{name}(_bucket)?\b", expression) for expression in dashboard_expressions())


def test_the_panels_of_the_dashboard_are_told_apart_and_do_not_overlap() -> None:
    """Grafana keeps one of two with the same id."""
    ids = [panel["id"] for panel in panels()]
    assert len(ids) == len(set(ids))
    taken: set[tuple[int, int]] = set()
    for panel in panels():
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken, panel["title"]
        taken |= cells


def test_the_dashboard_asks_the_prometheus_that_is_chosen() -> None:
    """It names none of its own, so that it can be imported anywhere."""
    variables = {one["name"]: one for one in json.loads(DASHBOARD.read_text())["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    for panel in panels():
        for asks in (panel, *panel.get("targets", ())) if panel["type"] != "row" else ():
            assert asks["datasource"] == {"type": "prometheus", "uid": "${datasource}"}


@pytest.mark.parametrize("alert", sorted(rules()))
def test_an_alert_says_what_is_wrong_and_where_to_read_on(alert: str) -> None:
    """The page is there, with that heading; and it stands in the table of alerts."""
    rule = rules()[alert]
    assert rule["labels"]["severity"] in ("critical", "warning", "info")
    assert rule["annotations"]["summary"].endswith(".")
    page, _, anchor = rule["annotations"]["runbook"].partition("#")
    assert anchor in anchors(DOCS / page)
    assert f"| `{alert}` |" in MONITOR.read_text()


def test_the_table_of_alerts_names_no_other() -> None:
    """One that was taken out is not promised any more."""
    assert set(re.findall(r"^\| `(Mso\w+)` \|", MONITOR.read_text(), re.MULTILINE)) == set(rules())


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    assert PROMTOOL
    return subprocess.run(
        [PROMTOOL, *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False
    )


@needs_promtool
def test_prometheus_understands_the_rules_and_the_dashboard(tmp_path: Path) -> None:
    """Both are PromQL."""
    asked = [{"record": f"asked:{number}", "expr": expression} for number, expression in enumerate(EXPRESSIONS)]
    as_rules = tmp_path / "dashboard.yaml"
    as_rules.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": asked}]}))
    for path in (RULES, as_rules):
        checked = promtool("check", "rules", path)
        assert checked.returncode == 0, checked.stdout + checked.stderr


CALM = {
    "mso_ready": "1+0x120",
    "mso_broker_connected": "1+0x120",
    "mso_standby": "0+0x120",
    "mso_last_listing_age_seconds": "20+0x120",
    "mso_outbox_rows": "0+0x120",
    "mso_simulations_waiting": "0+0x120",
    "mso_ledger_failures_total": "0+0x120",
    "process_start_time_seconds": "1000+0x120",
    'mso_messages_sent_total{kind="termination"}': "0+60x120",
    'mso_messages_refused_total{why="handler_raised"}': "0+0x120",
    'mso_messages_refused_total{why="rejected"}': "0+0x120",
    'mso_messages_refused_total{why="retained"}': "0+1x120",
    **{
        f'mso_model_failures_total{{reason="{reason}"}}': "0+0x120"
        for reason in ("DeployFailed", "ImagePullFailed", "Unschedulable", "NodeLost", "Evicted", "PodDeleted")
    },
    'mso_model_failures_total{reason="Error"}': "0+5x120",
    'mso_kubernetes_requests_total{method="GET",status="200"}': "0+600x120",
    'mso_kubernetes_requests_total{method="POST",status="503"}': "0+1x120",
    'mso_loop_lag_seconds_bucket{le="0.01"}': "0+59x120",
    'mso_loop_lag_seconds_bucket{le="+Inf"}': "0+60x120",
}
"""Two hours of a service that does well, a sample a minute: models fail of themselves, and the API says no at times."""
ONCE = "0+0x100 1+0x20"
TROUBLES = {
    "MsoAway": {"mso_ready": "1+0x60 stale"},
    "MsoNotReady": {"mso_ready": "1+0x60 0+0x60"},
    "MsoBrokerAway": {"mso_broker_connected": "1+0x100 0+0x20"},
    "MsoListingStale": {"mso_last_listing_age_seconds": "20+60x120"},
    "MsoOutboxStuck": {"mso_outbox_rows": "0+0x60 3+0x60", 'mso_messages_sent_total{kind="termination"}': "60+0x120"},
    "MsoOutboxGrows": {"mso_outbox_rows": "0+30x120"},
    "MsoMessagePutAside": {'mso_messages_refused_total{why="handler_raised"}': ONCE.replace("100", "110")},
    "MsoRequestsRejected": {'mso_messages_refused_total{why="rejected"}': ONCE.replace("100", "110")},
    "MsoModelsFailToDeploy": {'mso_model_failures_total{reason="ImagePullFailed"}': ONCE.replace("100", "110")},
    "MsoModelsLost": {'mso_model_failures_total{reason="NodeLost"}': ONCE.replace("100", "110")},
    "MsoSimulationsWait": {"mso_simulations_waiting": "2+0x120"},
    "MsoLedgerTrouble": {"mso_ledger_failures_total": "0+0x110 0+60x10"},
    "MsoKubernetesErrors": {'mso_kubernetes_requests_total{method="POST",status="503"}': "0+300x120"},
    "MsoLoopLags": {
        'mso_loop_lag_seconds_bucket{le="0.01"}': "0+10x120",
        'mso_loop_lag_seconds_bucket{le="1"}': "0+60x120",
    },
    "MsoRestarts": {"process_start_time_seconds": "1000+0x90 2000+1000x30"},
}
"""What each alert is for: what is otherwise than in the calm."""


def fires(tmp_path: Path, expected: list[str], trouble: dict[str, str]) -> None:
    """After two hours exactly these alerts fire. promtool says what fires instead."""

    def labelled(series: str) -> str:
        name, _, labels = series.partition("{")
        if "instance=" in labels:
            return series
        return f"{name}{{instance='mso:8080',namespace='dots',{labels or '}'}"

    world = {
        "rule_files": [str(RULES)],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [
                    {"series": labelled(series), "values": values} for series, values in (CALM | trouble).items()
                ],
                "promql_expr_test": [
                    {
                        "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
                        "eval_time": "2h",
                        "exp_samples": [{"labels": f'{{alertname="{alert}"}}', "value": 1} for alert in expected],
                    }
                ],
            }
        ],
    }
    path = tmp_path / "world.yaml"
    path.write_text(yaml.safe_dump(world))
    tested = promtool("test", "rules", path)
    assert tested.returncode == 0, tested.stdout + tested.stderr


@needs_promtool
def test_no_alert_fires_while_all_is_well(tmp_path: Path) -> None:
    """Models that fail of themselves are no business of the operator."""
    fires(tmp_path, [], {})


@needs_promtool
@pytest.mark.parametrize("alert", sorted(rules()))
def test_an_alert_fires_in_its_own_trouble(tmp_path: Path, alert: str) -> None:
    """It, and no other."""
    fires(tmp_path, [alert], TROUBLES[alert])


@needs_promtool
def test_a_standby_is_no_trouble(tmp_path: Path) -> None:
    """It is not ready, not connected, and has listed nothing; the active one counts."""
    other = '{instance="other",namespace="dots"}'
    fires(tmp_path, [], {f"mso_ready{other}": "0+0x120", f"mso_broker_connected{other}": "0+0x120"})
