"""What a network says when it fails, in the words of an operator: what is wrong, and what to look at."""

import socket
import ssl


class Trouble(Exception):
    """Why a connection ended, or never came to be."""

    def __init__(self, reason: str, advice: str = "") -> None:
        super().__init__(reason)
        self.advice = advice


def explain(error: OSError | UnicodeError, host: str, port: int) -> Trouble:
    """The trouble behind an error of a socket or of TLS."""
    match error:
        case ssl.SSLCertVerificationError():
            return Trouble(
                f"the certificate of {host}:{port} was refused: {error.verify_message}",
                "check MQTT_TLS_CA_FILE, and that MQTT_HOST is a name that stands in the certificate",
            )
        case ssl.SSLError():
            return Trouble(
                f"TLS with {host}:{port} failed: {error}",
                "check that MQTT_PORT is the broker's TLS port, and the MQTT_TLS_* files",
            )
        case socket.gaierror() | UnicodeError():
            return Trouble(f"{host} has no address: {error}", "check MQTT_HOST")
        case ConnectionRefusedError():
            return Trouble(f"nothing listens at {host}:{port}", "start the broker, or check MQTT_HOST and MQTT_PORT")
        case TimeoutError():
            return Trouble(f"no answer from {host}:{port}", "check MQTT_HOST, MQTT_PORT and what is between")
        case _:
            return Trouble(f"{host}:{port}: {error}", "check MQTT_HOST, MQTT_PORT and what is between")
