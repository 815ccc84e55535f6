"""How to reach an MQTT broker, as whom, and what to say there of oneself; and the TLS that follows from it."""

import ssl
from dataclasses import dataclass, field
from pathlib import Path

from mso.broker.trouble import Trouble


@dataclass(frozen=True, slots=True)
class Presence:
    """A retained message that tells the truth: online while connected, offline when we have left or vanished."""

    topic: str
    online_payload: bytes
    offline_payload: bytes


@dataclass(frozen=True, slots=True)
class MqttSettings:
    """Any TLS file turns TLS on; certificate and host name are then verified, always."""

    host: str
    port: int
    client_id: str
    username: str = ""
    password: str = field(default="", repr=False)
    tls_ca_file: Path | None = None
    tls_cert_file: Path | None = None
    tls_key_file: Path | None = None
    keepalive: int = 20
    """Seconds. A dead link is noticed within one and a half of it, by either side."""
    persistent: bool = True
    """Whether the broker is to keep the session while we are away."""
    filters: tuple[str, ...] = ()
    wills: tuple[Presence, ...] = ()
    """A connection carries one will: the first is the session's, each further one has a small connection of its own."""

    @property
    def uses_tls(self) -> bool:
        return bool(self.tls_ca_file or self.tls_cert_file or self.tls_key_file)

    def tls_context(self) -> ssl.SSLContext | None:
        """What TLS needs, or None where none is wanted. Reads the files, so that a renewed one needs no restart.

        Raises Trouble.
        """
        if not self.uses_tls:
            return None
        files = [str(file) for file in (self.tls_ca_file, self.tls_cert_file, self.tls_key_file) if file]
        try:
            context = ssl.create_default_context(cafile=self.tls_ca_file)
            if self.tls_cert_file:
                # With a password, since OpenSSL would ask for a missing one on the terminal.
                context.load_cert_chain(self.tls_cert_file, self.tls_key_file, password="")
        except OSError as error:
            raise Trouble(
                f"something is wrong with {' or '.join(files)}: {error}",
                "check MQTT_TLS_CA_FILE, MQTT_TLS_CERT_FILE and MQTT_TLS_KEY_FILE",
            ) from error
        return context
