"""What the doctor says of real brokers."""

import time
from dataclasses import replace
from pathlib import Path

import pytest

from mso.broker import checks
from mso.broker.mqtt import MqttSettings
from mso.checkup import Finding, Grade
from mso.protocol import topics
from tests.integration.conftest import StartMosquitto, StartMso
from tests.mosquitto import Certificate, Mosquitto, free_port
from tests.peer import Peer, configuration, order

NONCE = topics.nonce("mso-so")


def settings(broker: Mosquitto, **fields: object) -> MqttSettings:
    found = MqttSettings(broker.host, broker.port, "mso-so", broker.username, broker.password)
    return replace(found, filters=("/lifecycle/so/mso/+/DeployModels",), **fields)  # type: ignore[arg-type]


async def examined(found: MqttSettings) -> dict[str, Finding]:
    return {finding.check: finding async for finding in checks.check(found, NONCE)}


async def test_a_broker_that_is_well(mosquitto: Mosquitto) -> None:
    """It lets us in and gives back what we say; on this machine nobody listens in."""
    found = await examined(settings(mosquitto))
    assert {check: finding.grade for check, finding in found.items()} == {
        checks.BROKER: Grade.OK,
        checks.SECURITY: Grade.OK,
        checks.MESSAGES: Grade.OK,
    }


async def test_a_wrong_password_is_told_from_a_broker_that_is_not_there(mosquitto: Mosquitto) -> None:
    """Both are wrong, and what to look at is not the same."""
    refused = (await examined(settings(mosquitto, password="guessed")))[checks.BROKER]
    assert refused.grade is Grade.WRONG
    assert "Not authorized" in refused.what or "user name or password" in refused.what.lower()
    assert "MQTT_PASSWORD" in refused.advice
    assert "guessed" not in refused.what + refused.advice
    found = await examined(settings(mosquitto, port=free_port()))
    assert found[checks.BROKER].grade is Grade.WRONG
    assert "nothing listens" in found[checks.BROKER].what
    assert "start the broker" in found[checks.BROKER].advice
    assert found[checks.MESSAGES].grade is Grade.SKIPPED


async def test_a_host_without_an_address(mosquitto: Mosquitto) -> None:
    """A name that is misspelt."""
    found = (await examined(settings(mosquitto, host="broker.invalid")))[checks.BROKER]
    assert (found.grade, found.advice) == (Grade.WRONG, "check MQTT_HOST")


@pytest.mark.filterwarnings("ignore:unclosed <ssl.SSLSocket:ResourceWarning")  # paho leaves it to the collector
async def test_a_certificate_of_an_authority_that_we_do_not_know(
    start_mosquitto: StartMosquitto, certificate: Certificate, impostor: Certificate
) -> None:
    """It is refused, and the authority named; with the right one all is well."""
    broker = start_mosquitto(certificate=certificate)
    found = (await examined(settings(broker, tls_ca_file=impostor.certificate)))[checks.BROKER]
    assert found.grade is Grade.WRONG
    assert "certificate" in found.what
    assert "MQTT_TLS_CA_FILE" in found.advice
    found = (await examined(settings(broker, tls_ca_file=certificate.certificate)))[checks.BROKER]
    assert (found.grade, "with TLS" in found.what) == (Grade.OK, True)


async def test_a_broker_that_says_nothing(mosquitto: Mosquitto) -> None:
    """It is given up in time."""
    mosquitto.pause()
    began = time.monotonic()
    found = (await examined(settings(mosquitto)))[checks.BROKER]
    mosquitto.resume()
    assert found.grade is Grade.WRONG
    assert time.monotonic() - began < 12


async def test_a_broker_that_keeps_from_us_what_we_say(
    start_mosquitto: StartMosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It acknowledges what it then throws away: only what comes back shows that we may."""
    monkeypatch.setattr(checks, "ECHO_SECONDS", 1.0)
    found = await examined(settings(start_mosquitto(access=("topic readwrite /lifecycle/#",))))
    assert found[checks.BROKER].grade is Grade.OK
    assert found[checks.MESSAGES].grade is Grade.WRONG
    assert "'mso'" in found[checks.MESSAGES].advice
    allowed = start_mosquitto(access=("topic readwrite /lifecycle/#", f"topic readwrite {NONCE}"))
    assert (await examined(settings(allowed)))[checks.MESSAGES].grade is Grade.OK


@pytest.mark.parametrize(
    ("fields", "advice"),
    (
        ({"username": "", "password": ""}, "MQTT_USERNAME"),
        ({}, "MQTT_TLS_CA_FILE"),
        ({"tls_ca_file": Path("/ca.pem")}, ""),
    ),
)
def test_a_broker_elsewhere_wants_a_name_and_tls(fields: dict[str, object], advice: str) -> None:
    """Else anybody can order models, or read the passwords of those that are ordered: a warning."""
    found = checks._security(replace(MqttSettings("broker.example", 1883, "mso", "me", "secret"), **fields))  # type: ignore[arg-type]
    assert advice in found.advice
    assert (found.grade is Grade.WARNING) == bool(advice)


def test_a_running_service_keeps_its_connections_and_hears_nothing_of_it(
    mosquitto: Mosquitto, start_mso: StartMso, peer: Peer
) -> None:
    """The doctor finds all well beside it, and the service goes on as before."""
    mso = start_mso(mosquitto)
    told = mso.command("doctor")
    assert told.returncode == 0, told.stdout
    assert "an MSO answers" in told.stdout
    assert "is active" in told.stdout
    assert mso.events("broker.disconnected") == []
    assert mso.events("message.refused") == []
    peer.deploy("sim", order(configuration("a", "waits")))
    mso.wait_for_event("model.deployed")
    peer.ready("sim", "a")
    peer.wait_for("sim", "ModelsReady")
