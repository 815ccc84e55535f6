"""Mosquitto as it is shipped: set up and started by the scripts of simulation_components, in a directory of its own."""

import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.mosquitto import free_port

COMPONENTS = Path(__file__).parents[1] / "simulation_components"
START_SECONDS = 60.0
"""With room for a container to be made."""


@dataclass(frozen=True, slots=True)
class Login:
    """What one user needs to reach the broker."""

    host: str
    port: int
    username: str
    password: str
    tls_ca_file: Path | None = None

    @classmethod
    def read(cls, file: Path) -> Self:
        variables = dict(line.split("=", 1) for line in file.read_text().splitlines())
        return cls(
            # By name there would be a second try, at ::1, which is nobody's or somebody else's.
            variables["MQTT_HOST"].replace("localhost", "127.0.0.1"),
            int(variables["MQTT_PORT"]),
            variables["MQTT_USERNAME"],
            variables["MQTT_PASSWORD"],
            Path(variables["MQTT_TLS_CA_FILE"]) if "MQTT_TLS_CA_FILE" in variables else None,
        )


class ShippedMosquitto:
    """`with` starts it, on a free port; it is gone at the end, and what it was set up with stays in the directory."""

    def __init__(self, directory: Path, *options: str, components: Path = COMPONENTS) -> None:
        """`options` are those of run_mosquitto.sh; `components` is where it stands: a copy may be changed."""
        self.directory = directory
        self._components = components
        self.port = free_port()
        self._options = options
        self._log = directory.with_suffix(".log")
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._process and self._process.poll() is None:
            self.stop()

    def start(self) -> None:
        """Returns when it says that it runs."""
        starts = self.log().count(" running\n")
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [self._components / "run_mosquitto.sh", "--port", str(self.port), *self._options],
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + START_SECONDS
        while self.log().count(" running\n") == starts:
            assert self._process.poll() is None, self.log()
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.01)  # the log of another process can only be read again

    def stop(self) -> None:
        self._send(signal.SIGTERM)

    def kill(self) -> None:
        """kill -9."""
        self._send(signal.SIGKILL)

    def reload(self) -> None:
        """Have it read again who its users are; returns when it has begun to."""
        assert self._process
        times = self.log().count("Reloading config")
        self._process.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + START_SECONDS
        while self.log().count("Reloading config") == times:
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.01)

    def login(self, user: str) -> Login:
        return Login.read(self.directory / "clients" / f"{user}.env")

    def saved(self) -> bytes:
        """Its memory as it last saved it."""
        try:
            return (self.directory / "broker" / "data" / "mosquitto.db").read_bytes()
        except FileNotFoundError:
            return b""

    def log(self) -> str:
        return self._log.read_text() if self._log.exists() else ""

    def environment(self) -> dict[str, str]:
        """In which the scripts find it."""
        return {**os.environ, "MOSQUITTO_DIRECTORY": str(self.directory)}

    def script(self, name: str, *arguments: str, seconds: float = 60) -> subprocess.CompletedProcess[str]:
        """One of the shipped scripts, by its place below simulation_components."""
        return subprocess.run(
            [self._components / name, *arguments],
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=seconds,
            text=True,
            check=False,
        )

    def _send(self, number: signal.Signals) -> None:
        assert self._process
        self._process.send_signal(number)
        self._process.wait(START_SECONDS)
