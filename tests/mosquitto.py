"""A real Mosquitto, to be used and abused: on a free port of its own, with a password, as a process or in Docker."""

import base64
import hashlib
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

USERNAME = "mso"
PASSWORD = "lavender-41"
IMAGE = "eclipse-mosquitto:2"
INSTALL_HINT = "no Mosquitto here: apt-get install mosquitto, brew install mosquitto, or MSO_TEST_MOSQUITTO=docker"
START_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate that vouches for itself, for 127.0.0.1 and localhost: server certificate and authority in one."""

    certificate: Path
    key: Path


def make_certificate(directory: Path, name: str, names: str = "IP:127.0.0.1,DNS:localhost") -> Certificate:
    made = Certificate(directory / f"{name}.pem", directory / f"{name}.key")
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}"),
            *("-addext", f"subjectAltName={names}", "-addext", "keyUsage=digitalSignature,keyCertSign"),
            *("-keyout", str(made.key), "-out", str(made.certificate)),
        ],
        check=True,
        capture_output=True,
    )
    return made


def find_mosquitto() -> str | None:
    """The executable, also where a user's PATH does not look."""
    places = [os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin", "/opt/homebrew/sbin"]
    return shutil.which("mosquitto", path=os.pathsep.join(places))


def in_docker() -> bool:
    return os.environ.get("MSO_TEST_MOSQUITTO") == "docker"


def available() -> bool:
    return in_docker() or find_mosquitto() is not None


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Mosquitto:
    """A broker that is started by `with`, and again by `start` after `kill` or `stop`: same port, same directory."""

    host = "127.0.0.1"
    username = USERNAME
    password = PASSWORD

    def __init__(
        self,
        directory: Path,
        *,
        persistence: bool = True,
        queue_qos0_messages: bool = False,
        max_queued_messages: int | None = None,
        certificate: Certificate | None = None,
        also_at: str = "",
        access: Sequence[str] = (),
    ) -> None:
        """`also_at` is another address of this machine to listen at; one in Docker listens at every address anyway.

        `access` are lines of an ACL file for our user, such as `topic readwrite a/#`; without any he may do everything.
        """
        self.port = free_port()
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "data").mkdir(exist_ok=True)
        self._host: _Host = _Container(directory, self.port) if in_docker() else _Process(directory)
        at, address = self._host.directory, self._host.address
        (directory / "passwords").write_text(f"{USERNAME}:{hashed(PASSWORD)}\n")
        lines = [
            f"listener {self.port} {address}",
            "user root",  # else a Mosquitto that root starts becomes somebody who may not write to our directory
            "allow_anonymous false",
            f"password_file {at}/passwords",
            f"persistence {str(persistence).lower()}",
            f"persistence_location {at}/data/",
            "autosave_on_changes true",
            "autosave_interval 1",
            "set_tcp_nodelay true",
            f"queue_qos0_messages {str(queue_qos0_messages).lower()}",
        ]
        if max_queued_messages is not None:
            lines.append(f"max_queued_messages {max_queued_messages}")
        if certificate:
            shutil.copy(certificate.certificate, directory / "server.pem")
            shutil.copy(certificate.key, directory / "server.key")
            lines += [f"certfile {at}/server.pem", f"keyfile {at}/server.key"]
        if access:
            (directory / "access").write_text("\n".join([f"user {USERNAME}", *access]) + "\n")
            lines.append(f"acl_file {at}/access")
        if also_at not in ("", address) and not in_docker():
            lines.append(f"listener {self.port} {also_at}")
        (directory / "mosquitto.conf").write_text("\n".join(lines) + "\n")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._host.remove()

    def start(self) -> None:
        """Returns when it says that it runs. To ask its port is not enough: Docker answers there before it does."""
        starts = self._starts()
        self._host.start()
        deadline = time.monotonic() + START_SECONDS
        while self._starts() == starts:
            if not self._host.alive() or time.monotonic() > deadline:
                raise RuntimeError(f"Mosquitto did not start:\n{self._host.log()}")
            time.sleep(0.01)

    def stop(self) -> None:
        """In good order: it saves what it has to."""
        self._host.send(signal.SIGTERM)

    def kill(self) -> None:
        """kill -9."""
        self._host.send(signal.SIGKILL)

    def save(self) -> None:
        """Have it save all that it remembers, also what is on its way to clients; returns when it has."""
        before = self._last_save()
        self._host.send(signal.SIGUSR1)
        deadline = time.monotonic() + START_SECONDS
        while self._last_save() == before:
            if time.monotonic() > deadline:
                raise RuntimeError(f"Mosquitto does not save:\n{self._host.log()}")
            time.sleep(0.01)

    def saved(self) -> bytes:
        """Its memory as it last saved it: the messages in it are those that it holds for clients that are away."""
        try:
            return (self.directory / "data" / "mosquitto.db").read_bytes()
        except FileNotFoundError:
            return b""

    def forget(self) -> None:
        """Throw away what it saved; while it does not run."""
        (self.directory / "data" / "mosquitto.db").unlink(missing_ok=True)

    def pause(self) -> None:
        """It lives and answers nothing; the kernel goes on taking bytes for it."""
        self._host.send(signal.SIGSTOP)

    def resume(self) -> None:
        self._host.send(signal.SIGCONT)

    def restart(self) -> None:
        self.stop()
        self.start()

    def _last_save(self) -> tuple[int, int]:
        try:
            file = (self.directory / "data" / "mosquitto.db").stat()
        except FileNotFoundError:
            return 0, 0
        return file.st_ino, file.st_mtime_ns

    def _starts(self) -> int:
        return len(re.findall(r"mosquitto version \S+ running", self._host.log()))


class _Host(Protocol):
    """What a Mosquitto runs in. `send` of a signal that ends or stops it returns when that has happened."""

    directory: str
    """Where the broker itself finds its directory."""
    address: str
    """What the broker itself listens on."""

    def start(self) -> None: ...
    def send(self, number: signal.Signals) -> None: ...
    def alive(self) -> bool: ...
    def log(self) -> str: ...
    def remove(self) -> None: ...


class _Process:
    address = "127.0.0.1"

    def __init__(self, directory: Path) -> None:
        self.directory = str(directory)
        self._log = directory / "log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        executable = find_mosquitto()
        assert executable, INSTALL_HINT
        with self._log.open("ab") as log:
            command = [executable, "-c", f"{self.directory}/mosquitto.conf"]
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def send(self, number: signal.Signals) -> None:
        assert self._process
        self._process.send_signal(number)
        if number in (signal.SIGTERM, signal.SIGKILL):
            self._process.wait(START_SECONDS)
        elif number == signal.SIGSTOP:
            os.waitpid(self._process.pid, os.WUNTRACED)  # until then it may still answer

    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def log(self) -> str:
        return self._log.read_text() if self._log.exists() else ""

    def remove(self) -> None:
        if self.alive():
            self.send(signal.SIGKILL)


class _Container:
    """The same by the Docker API. A container that was killed is started again: its port and its directory stay."""

    directory = "/mosquitto/here"
    address = "0.0.0.0"

    def __init__(self, directory: Path, port: int) -> None:
        from testcontainers.core.container import DockerContainer  # only where Docker is asked for

        directory.chmod(0o777)
        (directory / "data").chmod(0o777)
        self._container = (
            DockerContainer(IMAGE)
            .with_command(f"mosquitto -c {self.directory}/mosquitto.conf")
            .with_volume_mapping(str(directory), self.directory, "rw")
            .with_bind_ports(port, port)
        )
        self._started = False

    def start(self) -> None:
        if self._started:
            self._container.get_wrapped_container().start()
        else:
            self._container.start()
            self._started = True

    def send(self, number: signal.Signals) -> None:
        container = self._container.get_wrapped_container()
        match number:
            case signal.SIGSTOP:
                container.pause()
            case signal.SIGCONT:
                container.unpause()
            case _:
                container.kill(number)
                container.wait()

    def alive(self) -> bool:
        container = self._container.get_wrapped_container()
        container.reload()
        return bool(container.status != "exited")

    def log(self) -> str:
        return b"\n".join(self._container.get_logs()).decode(errors="replace") if self._started else ""

    def remove(self) -> None:
        if self._started:
            self._container.stop()


def hashed(password: str) -> str:
    """As mosquitto_passwd writes it, which is not installed everywhere: PBKDF2 with SHA-512."""
    salt, rounds = os.urandom(12), 101
    derived = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, rounds)
    return f"$7${rounds}${base64.b64encode(salt).decode()}${base64.b64encode(derived).decode()}"
