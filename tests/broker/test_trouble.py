"""Every way in which a network fails names the setting to look at."""

import socket
import ssl

import pytest

from mso.broker.trouble import explain


@pytest.mark.parametrize(
    ("error", "told", "advised"),
    (
        (ConnectionRefusedError(111, "Connection refused"), "nothing listens at broker:1883", "MQTT_PORT"),
        (TimeoutError("timed out"), "no answer from broker:1883", "MQTT_HOST"),
        (socket.gaierror(-2, "Name or service not known"), "broker has no address", "MQTT_HOST"),
        (UnicodeError("label too long"), "broker has no address", "MQTT_HOST"),
        (ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number"), "TLS with broker:1883", "TLS port"),
        (OSError(113, "No route to host"), "No route to host", "what is between"),
    ),
)
def test_an_error_is_told_with_what_to_check(error: OSError | UnicodeError, told: str, advised: str) -> None:
    """The reason says what is wrong and the advice which setting to check."""
    trouble = explain(error, "broker", 1883)
    assert told in str(trouble)
    assert advised in trouble.advice
