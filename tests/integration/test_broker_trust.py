"""Whom we trust and who trusts us; and that the log says what to check."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from tests.integration.conftest import StartMosquitto
from tests.mosquitto import Certificate, Mosquitto, make_certificate
from tests.mqtt import PATIENCE, Logs, connected, refusal

pytestmark = pytest.mark.broker

# paho does not close the socket of a handshake that failed: that is done when the last reference to it goes, at once.
leaves_its_socket_to_the_collector = pytest.mark.filterwarnings("ignore:unclosed <ssl.SSLSocket:ResourceWarning")


@pytest.fixture
def logs() -> Iterator[Logs]:
    with capture_logs() as entries:
        yield entries


async def test_a_wrong_password_is_named(mosquitto: Mosquitto, logs: Logs) -> None:
    """Who is not let in reads which settings to check, and never the password itself."""
    told = await refusal(logs, mosquitto, password="not-the-password")
    assert "MQTT_PASSWORD" in told["advice"]
    assert "not-the-password" not in repr(logs)


async def test_a_port_where_nobody_listens_is_named(mosquitto: Mosquitto, logs: Logs) -> None:
    """Who connects to the wrong place reads where nothing listens."""
    mosquitto.stop()
    told = await refusal(logs, mosquitto)
    assert f"{mosquitto.host}:{mosquitto.port}" in told["reason"]


async def test_the_right_certificate_is_accepted(start_mosquitto: StartMosquitto, certificate: Certificate) -> None:
    """Over TLS a message goes out and comes back, one that is larger than a TLS record included."""
    mosquitto = start_mosquitto(certificate=certificate)
    async with connected(mosquitto, tls_ca_file=certificate.certificate, filters=("/echo",)) as client:
        for payload in (b"small", bytes(1024 * 1024), b"small again"):
            await client.publish("/echo", payload)
            message = await asyncio.wait_for(anext(client.messages()), PATIENCE)
            assert message.payload == payload
            message.acknowledge()


@leaves_its_socket_to_the_collector
async def test_an_impostor_is_refused(
    start_mosquitto: StartMosquitto, certificate: Certificate, impostor: Certificate, logs: Logs
) -> None:
    """A broker with a certificate of somebody else, for the same names, never hears our password."""
    mosquitto = start_mosquitto(certificate=impostor)
    told = await refusal(logs, mosquitto, tls_ca_file=certificate.certificate)
    assert "certificate" in told["reason"]
    assert "MQTT_TLS_CA_FILE" in told["advice"]


@leaves_its_socket_to_the_collector
async def test_a_certificate_for_another_host_is_refused(
    start_mosquitto: StartMosquitto, tmp_path: Path, logs: Logs
) -> None:
    """A certificate that we trust is still not good for a host that it does not name."""
    elsewhere = make_certificate(tmp_path, "elsewhere", names="DNS:elsewhere.example")
    told = await refusal(logs, start_mosquitto(certificate=elsewhere), tls_ca_file=elsewhere.certificate)
    assert "MQTT_HOST" in told["advice"]


async def test_a_missing_certificate_file_is_named(mosquitto: Mosquitto, tmp_path: Path, logs: Logs) -> None:
    """A file that is not there is not the same as no TLS."""
    told = await refusal(logs, mosquitto, tls_ca_file=tmp_path / "nowhere.pem")
    assert "nowhere.pem" in told["reason"]
