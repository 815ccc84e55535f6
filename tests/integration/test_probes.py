"""What a supervisor sees over HTTP."""

import re
from pathlib import Path

from tests.integration.conftest import StartMso
from tests.mosquitto import Mosquitto
from tests.peer import Peer, configuration, order
from tests.service import MsoProcess
from tests.test_monitoring import EXPRESSIONS, NAME


def metric(text: str, name: str) -> float:
    found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
    assert found, f"{name} is not in\n{text}"
    return float(found[1])


def test_readiness_follows_the_broker_and_liveness_does_not(mosquitto: Mosquitto, mso: MsoProcess) -> None:
    """Without a broker it is not ready, says why, and is still alive."""
    assert mso.wait_for_probe("/readyz", 200) == '{"ok": true, "reasons": []}'
    mosquitto.kill()
    assert "the broker is not connected" in mso.wait_for_probe("/readyz", 503)
    assert mso.probe("/livez") == (200, '{"ok": true, "reasons": []}')
    mosquitto.start()
    mso.wait_for_probe("/readyz", 200)


def test_metrics_tell_what_happened(mso: MsoProcess, peer: Peer) -> None:
    """Models by state, deploys, failures by reason, terminations, refusals, broker and listing."""
    peer.deploy("waits", order(configuration("m", "waits")))
    peer.deploy("ends", order(configuration("good", "ends:0"), configuration("bad", "none"), keep_logs_hours=1))
    peer.wait_for_end("ends")
    peer.deploy("empty", order())
    peer.wait_for("empty", "DeployModelsRejected")
    mso.wait_for_event("model.deployed", 2)
    status, text = mso.probe("/metrics")
    assert status == 200
    assert metric(text, 'mso_models{state="created"}') == 1
    assert metric(text, 'mso_models{state="succeeded"}') == 1
    assert metric(text, 'mso_models{state="failed"}') == 1
    assert metric(text, 'mso_deploys_total{outcome="succeeded"}') == 2
    assert metric(text, 'mso_deploys_total{outcome="failed"}') == 1
    assert metric(text, 'mso_model_failures_total{reason="ImagePullFailed"}') == 1
    assert metric(text, "mso_terminations_sent_total") == 2
    assert metric(text, 'mso_messages_refused_total{why="rejected"}') == 1
    assert metric(text, "mso_broker_connected") == 1
    assert 0 <= metric(text, "mso_last_listing_age_seconds") < 120


def test_a_service_exposes_all_that_the_dashboard_and_the_alerts_ask_for(mso: MsoProcess) -> None:
    """From its start on, before anything happened."""
    _, text = mso.probe("/metrics")
    told = set(re.findall(r"^# TYPE (\w+) ", text, re.MULTILINE))
    asked = {re.sub(r"_bucket$", "", name) for expression in EXPRESSIONS for name, _ in NAME.findall(expression)}
    assert asked - told == set()


def test_metrics_tell_the_active_one_from_its_standby(
    mosquitto: Mosquitto, start_mso: StartMso, tmp_path: Path
) -> None:
    """One is ready; the other one waits, says so, and takes over."""
    shared = str(tmp_path / "state")
    first = start_mso(mosquitto, MSO_STATE_DIR=shared)
    second = MsoProcess(mosquitto, tmp_path / "second", MSO_STATE_DIR=shared)
    try:
        second.start(wait=False)
        second.wait_for_event("service.standby")
        assert [metric(first.probe("/metrics")[1], name) for name in ("mso_ready", "mso_standby")] == [1, 0]
        assert [metric(second.probe("/metrics")[1], name) for name in ("mso_ready", "mso_standby")] == [0, 1]
        first.kill()
        second.wait_for_probe("/readyz", 200)
        assert [metric(second.probe("/metrics")[1], name) for name in ("mso_ready", "mso_standby")] == [1, 0]
    finally:
        second.kill()


def test_readiness_that_is_lost_shows_in_the_metrics(mosquitto: Mosquitto, mso: MsoProcess) -> None:
    """Who has only Prometheus sees what the probe says."""
    mosquitto.kill()
    mso.wait_for_probe("/readyz", 503)
    assert metric(mso.probe("/metrics")[1], "mso_ready") == 0
