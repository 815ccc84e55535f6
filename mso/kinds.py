"""Kinds of variables: what the text of one may say, and the value that it stands for.

A `Kind` reads a text, and says in words what it takes. The configuration, its errors and its reference are all made of
the same kinds, so none of them can differ from the others.
"""

import re
from base64 import b64decode
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RESERVED_SIMULATORS = ("model", "mso")
_NAMESPACE = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_PROJECT = re.compile(r"[a-z0-9][a-z0-9_.-]{0,39}")
_SIMULATOR = re.compile(r"[^/+#\s\0]+")


class WrongError(ValueError):
    """A text that a variable cannot have: one line for each thing that is wrong, each beginning with the variable."""

    def __init__(self, *lines: str) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines


@dataclass(frozen=True, slots=True)
class Kind:
    """How a variable is read.

    `read` is given the name of the variable and its text without the blanks around it, and raises WrongError; `takes`
    tells an operator what it takes, in Markdown, and is empty where any text will do. Of a `verbatim` one blanks are
    part.
    """

    read: Callable[[str, str], Any]
    takes: str = ""
    verbatim: bool = False


def choice(*choices: str, fold: Callable[[str], str] = str) -> Kind:
    """One of these words, once it was folded."""

    def read(name: str, text: str) -> str:
        if fold(text) not in choices:
            raise WrongError(f"{name}: {fold(text)!r} is none of {', '.join(choices)}")
        return fold(text)

    return Kind(read, ", ".join(f"`{one}`" for one in choices))


def whole(least: int, most: int, unit: str = "") -> Kind:
    """A whole number from `least` to `most`."""
    return _number(int, "a whole number", least, most, unit)


def seconds(least: float, most: float) -> Kind:
    """A number of seconds; fractions are allowed."""
    return _number(float, "a number of seconds", least, most, "seconds")


def days(least: float, most: float) -> Kind:
    """A number of days; fractions are allowed."""
    return _number(float, "a number of days", least, most, "days")


def _number(kind: Callable[[str], float], noun: str, least: float, most: float, unit: str) -> Kind:
    def read(name: str, text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            raise WrongError(f"{name}: {text!r} is not {noun}") from None
        if not least <= value <= most:  # NaN is neither
            raise WrongError(f"{name}: {text} is not between {least} and {most}")
        return value

    return Kind(read, f"{unit}, {least} to {most}" if unit else f"{least} to {most}")


def _path(name: str, text: str) -> Path:
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise WrongError(f"{name}: {text!r} is in the home directory of somebody unknown") from None


def _file(name: str, text: str) -> Path:
    path = _path(name, text)
    if not path.is_file():
        raise WrongError(f"{name}: there is no file {str(path.absolute())!r}")
    try:
        path.open("rb").close()
    except OSError as exc:
        raise WrongError(f"{name}: {str(path.absolute())!r} cannot be read: {exc.strerror}") from exc
    return path


def _simulators(name: str, text: str) -> tuple[str, ...]:
    names: list[str] = []
    wrong: list[str] = []
    for part in text.split(","):
        one = part.lower()
        if not one:
            wrong.append(f"{name}: {text!r} has an empty name between its commas")
        elif not _SIMULATOR.fullmatch(one):
            wrong.append(f"{name}: {one!r} has a space, or one of '/', '+', '#'")
        elif one in RESERVED_SIMULATORS:
            wrong.append(f"{name}: {one!r} is the topic name of another party")
        elif one in names:
            wrong.append(f"{name}: {one!r} is there twice (names are lower-cased)")
        else:
            names.append(one)
    if wrong:
        raise WrongError(*wrong)
    return tuple(names)


def _host(name: str, text: str) -> str:
    host = text.removeprefix("https://").rstrip("/")
    if "/" in host or host.count(":") == 1:  # two and more are an address of IPv6
        raise WrongError(f"{name}: {text!r} is not the name or address of a host; KUBERNETES_PORT says where")
    return host


def _kubernetes_port(name: str, text: str) -> int:
    # In a pod Kubernetes itself sets this variable, to the address of a service: tcp://10.96.0.1:443.
    port: int = 443 if text.startswith("tcp://") else PORT.read(name, text)
    return port


def _namespace(name: str, text: str) -> str:
    if not _NAMESPACE.fullmatch(text):
        raise WrongError(f"{name}: {text!r} is no name of a namespace: a-z, 0-9 and -, 63 at most")
    return text


def _project(name: str, text: str) -> str:
    if not _PROJECT.fullmatch(text):
        raise WrongError(f"{name}: {text!r} begins no names of containers: a-z, 0-9, '_', '.' and '-', 40 at most")
    return text


def _certificates(name: str, text: str) -> str:
    """Base64, as a kubeconfig has it, to PEM."""
    try:
        pem = b64decode(text, validate=True).decode("ascii")
    except ValueError:
        pem = ""
    if "-----BEGIN CERTIFICATE-----" not in pem:
        raise WrongError(f"{name} is not the base64 form of a PEM file: base64 -w0 ca.crt")
    return pem


def _database_url(name: str, text: str) -> str:
    if not text.startswith(("postgresql://", "postgresql+psycopg://")):
        raise WrongError(
            f"{name} is not the URL of a PostgreSQL database: postgresql://user:password@host:5432/name; "
            "leave it unset for a file in MSO_STATE_DIR"
        )
    return text


def _words(name: str, text: str) -> tuple[str, ...]:
    words = tuple(word.strip() for word in text.split(","))
    if not all(word.isalnum() for word in words):
        raise WrongError(f"{name}: {text!r} is no list of words, separated by commas")
    return words


def _switch(name: str, text: str) -> bool:
    truth: str = _TRUTH.read(name, text)
    return truth == "true"


_TRUTH = choice("true", "false", fold=str.lower)

TEXT = Kind(lambda _, text: text)
SECRET = Kind(lambda _, text: text, verbatim=True)
"""A password, of which blanks may be part."""
PORT = whole(1, 65535)
PATH = Kind(_path, "a path")
FILE = Kind(_file, "a readable file")
SWITCH = Kind(_switch, _TRUTH.takes)
SET = Kind(lambda _, text: True, "anything: it counts that it is set")
WORDS = Kind(_words, "words, separated by commas")
SIMULATORS = Kind(_simulators, "names, separated by commas; none has a blank, `/`, `+` or `#`, or is `mso` or `model`")
KUBERNETES_HOST = Kind(_host, "a name or an address")
KUBERNETES_PORT = Kind(_kubernetes_port, PORT.takes)
NAMESPACE = Kind(_namespace, "a legal name")
PROJECT = Kind(_project, "a-z, 0-9, `_`, `.`, `-`, 40 at most")
CERTIFICATES = Kind(_certificates, "base64 of PEM")
DATABASE_URL = Kind(_database_url, "`postgresql://user:password@host:5432/name`")
