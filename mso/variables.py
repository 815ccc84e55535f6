"""Variables: the texts of a process's environment and its `.env`, and the fields of a dataclass that are read of them.

What the fields are is not known here; each says in its metadata from what it is read, and how.
"""

from collections.abc import Iterable, Mapping
from dataclasses import Field
from io import StringIO
from pathlib import Path
from typing import Any

from dotenv import dotenv_values

from mso.kinds import Kind, WrongError


class ConfigError(Exception):
    """The configuration cannot be used; one line for each thing that is wrong, and what to do about it."""

    def __init__(self, errors: list[str]) -> None:
        super().__init__("\n".join(errors))
        self.errors = errors


def reads(variable: str, kind: Kind, means: str, *, default: str = "", section: str = "") -> dict[str, object]:
    """The metadata of a field: all that there is to its variable. Whoever adds one runs `ci/build_docs.sh` then.

    `means` tells an operator what it is, in Markdown; `default` what holds where it is unset, if the value of the field
    does not say so; `section` is the heading above it and those that follow.
    """
    return {"variable": variable, "kind": kind, "means": means, "default": default, "section": section}


def texts(environment: Mapping[str, str], dotenv: Path | None = None) -> dict[str, str]:
    """What is set, by variable: the environment, and below it the file, if there is one. Raises ConfigError."""
    from_file = _read(dotenv) if dotenv and dotenv.exists() else {}
    # An empty variable of the environment is unset: it does not hide what the file says.
    from_environment = {name: text for name, text in environment.items() if text.strip()}
    return {name: text for name, text in {**from_file, **from_environment}.items() if text and text.strip()}


def values(wanted: Iterable[Field[Any]], given: Mapping[str, str]) -> tuple[dict[str, Any], list[str]]:
    """The values of the fields that are set, and what is wrong with those that cannot be read; these are left out."""
    found: dict[str, Any] = {}
    errors: list[str] = []
    for field in wanted:
        name, kind = field.metadata["variable"], field.metadata["kind"]
        if name not in given:
            continue
        try:
            found[field.name] = kind.read(name, given[name] if kind.verbatim else given[name].strip())
        except WrongError as wrong:
            errors += wrong.lines
    return found, errors


def _read(dotenv: Path) -> dict[str, str | None]:
    try:
        text = dotenv.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError([f"{dotenv} cannot be read: {exc}"]) from exc
    return dotenv_values(stream=StringIO(text), interpolate=False)
