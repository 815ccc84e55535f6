"""A real `mso run`: a process with a log that can be asked, to be killed, stopped and started again."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from tests.mosquitto import free_port
from tests.mqtt import Reachable

PATIENCE_SECONDS = 100.0

IMAGES = {
    "ends:0": ["sh", "-c", "exit 0"],
    "ends:code": ["sh", "-c", 'echo "going to end with $CODE"; exit "$CODE"'],
    "waits": ["sleep", "600"],
    # Ends with the code that somebody writes into the pipe $GATE.
    "gated": ["sh", "-c", 'read -r code < "$GATE"; exit "$code"'],
    # Leaves a line for each time it is started.
    "notes-start": ["sh", "-c", 'echo started >> "$NOTE"; read -r code < "$GATE"; exit "$code"'],
    "deaf": ["sh", "-c", "trap '' TERM; sleep 600"],
}
"""What the images of the tests are: nothing that costs anything."""


def wait_until(condition: Callable[[], bool]) -> None:
    """For what another process does without a word: it can only be looked at again."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


class MsoProcess:
    """`mso run`. `with` starts it and, at the end, kills it and all of its local models.

    On the local backplane, unless the variables say otherwise: they win.
    """

    def __init__(self, broker: Reachable, directory: Path, simulators: str = "test-so", **variables: str) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        images = directory / "images.json"
        images.write_text(json.dumps(IMAGES))
        self.directory = directory
        self.http_port = free_port()
        self._log = directory / "mso.log"
        self._client_id = variables.get("MQTT_CLIENT_ID", "-".join(["mso", *sorted(simulators.split(","))]))
        self._environment = {
            "PATH": os.environ["PATH"],
            "SIMULATOR_NAME": simulators,
            "MQTT_HOST": broker.host,
            "MQTT_PORT": str(broker.port),
            "MQTT_USERNAME": broker.username,
            "MQTT_PASSWORD": broker.password,
            "MSO_BACKPLANE": "local",
            "MSO_LOCAL_IMAGES": str(images),
            "MSO_STATE_DIR": str(directory / "state"),
            "MSO_HTTP_PORT": str(self.http_port),
            "MSO_STOP_GRACE_SECONDS": "1",
            "LOG_FORMAT": "json",
            **variables,
        }
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self.process and self.process.poll() is None:
            self.kill()
        for started in (self.directory / "state").glob("local/*/*/*/*/started"):
            try:
                os.killpg(int(started.read_text().split()[0]), signal.SIGKILL)
            except (ProcessLookupError, ValueError, IndexError):
                continue

    def start(self, *, wait: bool = True) -> None:
        """Returns when it is connected and knows what runs."""
        seen = len(self.connections())
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "mso", "run", "--env-file", "/dev/null"],
                env=self._environment,
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        if wait:
            self.wait_for_connection(seen + 1)

    def connections(self) -> list[dict[str, Any]]:
        """Those of its session; the witness has some of its own."""
        return self.events("broker.connected", client_id=self._client_id)

    def wait_for_connection(self, times: int) -> None:
        self.wait_for_event("broker.connected", times, client_id=self._client_id)

    def set(self, variable: str, value: str = "") -> None:
        """From the next start on; empty is unset."""
        self._environment[variable] = value

    @property
    def environment(self) -> dict[str, str]:
        """What it runs with."""
        return dict(self._environment)

    @contextmanager
    def begin(self, *arguments: str, stdout: int = subprocess.PIPE) -> Iterator[subprocess.Popen[str]]:
        """Another `mso` with the same configuration that goes on; killed at the end if it does not end before."""
        with subprocess.Popen(
            [sys.executable, "-m", "mso", *arguments, "--env-file", "/dev/null"],
            env=self._environment,
            cwd=self.directory,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            text=True,
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Another `mso` with the same configuration: its exit status and all that it said."""
        return subprocess.run(
            [sys.executable, "-m", "mso", *arguments, "--env-file", "/dev/null"],
            env=self._environment,
            cwd=self.directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=PATIENCE_SECONDS,
            text=True,
            check=False,
        )

    def kill(self) -> None:
        """kill -9."""
        self._send(signal.SIGKILL)

    def stop(self) -> int:
        """SIGTERM; its exit status."""
        return self._send(signal.SIGTERM)

    def pause(self) -> None:
        """SIGSTOP."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        os.kill(self.pid, signal.SIGCONT)

    def _send(self, number: signal.Signals) -> int:
        assert self.process
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_SECONDS)

    @property
    def pid(self) -> int:
        assert self.process
        return self.process.pid

    def log(self) -> str:
        return self._log.read_text() if self._log.exists() else ""

    def events(self, name: str, **keys: Any) -> list[dict[str, Any]]:
        """What it logged under this name, with these keys."""
        found = []
        for line in self.log().splitlines():
            if line.startswith("{") and line.endswith("}") and f'"{name}"' in line:
                event = json.loads(line)
                if event["event"] == name and all(event.get(key) == value for key, value in keys.items()):
                    found.append(event)
        return found

    def wait_for_event(self, name: str, times: int = 1, **keys: Any) -> list[dict[str, Any]]:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while len(found := self.events(name, **keys)) < times:
            assert self.process
            assert self.process.poll() is None, f"it ended with {self.process.returncode}:\n{self.log()[-4000:]}"
            assert time.monotonic() < deadline, f"{name} {keys} did not come:\n{self.log()[-4000:]}"
            time.sleep(0.02)  # the log of another process can only be read again
        return found

    def probe(self, path: str) -> tuple[int, str]:
        """Status and body of its HTTP surface."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}{path}", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def wait_for_probe(self, path: str, status: int) -> str:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while (answer := self.probe(path))[0] != status:
            assert time.monotonic() < deadline, f"{path} still answers {answer}"
            time.sleep(0.05)
        return answer[1]
