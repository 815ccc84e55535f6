"""A real PostgreSQL, to be used and abused: on a free port of its own, without fsync, gone with the test session.

PostgreSQL does not run as root; where the tests do, it runs as somebody else, in a directory that this one can reach.
"""

import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import psutil
import psycopg
from sqlalchemy import URL, make_url

from tests.mosquitto import free_port

INSTALL_HINT = "no PostgreSQL here: apt-get install postgresql, brew install postgresql, or MSO_TEST_POSTGRESQL_URL=postgresql://..."
USER = "mso"
PASSWORD = "thistle-17"
START_SECONDS = 30.0

_numbers = itertools.count(1)


def find_programs() -> Path | None:
    """The directory of initdb and postgres: Debian does not put it on the PATH."""
    for places in (None, os.pathsep.join(map(str, sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)))):
        if (found := shutil.which("initdb", path=places)) and (programs := Path(found).parent / "postgres").exists():
            return programs.parent
    return None


def external() -> str:
    """The URL of a server to use instead of one of our own: it is never killed, and its user may create databases."""
    return os.environ.get("MSO_TEST_POSTGRESQL_URL", "")


def available() -> bool:
    return bool(external()) or find_programs() is not None


class Databases:
    """A server that databases can be made on."""

    def __init__(self, url: str) -> None:
        self._url = make_url(url)

    def url(self, database: str) -> str:
        return self._url.set(drivername="postgresql", database=database).render_as_string(hide_password=False)

    def create(self, *, encoding: str = "UTF8") -> str:
        """A new, empty database; its URL."""
        name = f"mso_test_{os.getpid()}_{next(_numbers)}"
        self._execute(f"CREATE DATABASE {name} ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
        return self.url(name)

    def drop(self, url: str) -> None:
        self._execute(f"DROP DATABASE IF EXISTS {make_url(url).database} WITH (FORCE)")

    @staticmethod
    def empty(url: str) -> None:
        """As good as new, and many times faster."""
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            connection.execute("DROP SCHEMA public CASCADE")
            connection.execute("CREATE SCHEMA public")
            connection.execute("GRANT USAGE ON SCHEMA public TO PUBLIC")

    def _execute(self, statement: str) -> None:
        with psycopg.connect(self.url(self._url.database or "postgres"), autocommit=True) as connection:
            connection.execute(statement.encode())


class Postgres:
    """A server that is started by `with`, and again by `start` after `kill` or `stop`: same port, same data."""

    def __init__(self) -> None:
        programs = find_programs()
        assert programs is not None, INSTALL_HINT
        self._programs = programs
        self.port = free_port()
        self.directory = Path(tempfile.mkdtemp(prefix="mso-pg-", dir="/tmp"))  # the path of a socket has to be short
        self._identity = _somebody() if os.geteuid() == 0 else {}
        if self._identity:
            os.chown(self.directory, self._identity["user"], self._identity["group"])
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            self._initialise()
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    @property
    def databases(self) -> Databases:
        url = URL.create("postgresql", USER, PASSWORD, "127.0.0.1", self.port, "postgres")
        return Databases(url.render_as_string(hide_password=False))

    def start(self) -> None:
        """Returns when it lets somebody in."""
        settings = {
            "port": self.port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": self.directory,
            "shared_buffers": "16MB",
            "fsync": "off",  # what a killed process wrote the kernel has
        }
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._programs / "postgres", "-D", self.directory / "data", *options],
                stdout=log,
                stderr=log,
                cwd=self.directory,
                **self._identity,
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._lets_in():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"PostgreSQL does not start: {self.log()[-2000:]}")
            time.sleep(0.05)

    def stop(self) -> None:
        """As an operator does: connections are ended, nothing is lost."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """As a crash does. Returns when its children have noticed too: until then it could not start again."""
        self.resume()
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """It is there, takes connections, and says nothing."""
        for process in self._family():
            process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        for process in self._family():
            process.send_signal(signal.SIGCONT)

    def log(self) -> str:
        return (self.directory / "log").read_text(errors="replace")

    def _initialise(self) -> None:
        password = self.directory / "password"
        password.write_text(PASSWORD)
        password.chmod(0o644)
        subprocess.run(
            [
                *(self._programs / "initdb", "-D", self.directory / "data", "-U", USER, f"--pwfile={password}"),
                *("--auth-host=scram-sha-256", "--auth-local=reject", "--encoding=UTF8", "--no-locale", "--no-sync"),
            ],
            check=True,
            capture_output=True,
            cwd=self.directory,
            **self._identity,
        )

    def _lets_in(self) -> bool:
        try:
            psycopg.connect(self.databases.url("postgres"), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def _family(self) -> list[psutil.Process]:
        if self._process is None or self._process.poll() is not None:
            return []
        head = psutil.Process(self._process.pid)
        return [head, *head.children(recursive=True)]

    def _end(self, how: signal.Signals) -> None:
        family = self._family()
        if self._process is None or not family:
            return
        self._process.send_signal(how)
        self._process.wait(START_SECONDS)
        deadline = time.monotonic() + START_SECONDS
        while any(map(_lives, family)):
            if time.monotonic() > deadline:
                raise RuntimeError(f"PostgreSQL does not end: {self.log()[-2000:]}")
            time.sleep(0.02)


def _lives(process: psutil.Process) -> bool:
    """Whether it does anything: one that has ended stays a zombie where nobody asks for it."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _somebody() -> Mapping[str, Any]:
    """Whoever runs servers on this machine, or at least not root."""
    for name in ("postgres", "nobody"):
        try:
            found = pwd.getpwnam(name)
        except KeyError:
            continue
        return {"user": found.pw_uid, "group": found.pw_gid, "extra_groups": ()}
    raise RuntimeError("PostgreSQL does not run as root, and there is neither a user postgres nor nobody")
