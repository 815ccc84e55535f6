"""What is typed: a module for each command, or for a few that belong together. They translate, and decide nothing.

A command is a value: what its help says, what it takes, and what runs. The same value makes `mso COMMAND --help`, the
reference in docs/commands.md and the completion of shells, so none of them can say what is not so. Whatever takes a
moment to import is imported when the command runs: `--help` needs no database, no broker and no cluster.
"""

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from mso import config
from mso.backplane.images import ImagesError
from mso.backplane.pod_template import PodTemplateError

WRONG_USE = "a wrong use"
CONFIGURATION = (
    "The configuration of mso run, from the same environment variables and, below them, the file .env; mso run --check "
    "shows what is in force."
)


def _takes_nothing(_: argparse.ArgumentParser) -> None:
    """A command without options of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One command. Texts are paragraphs, with an empty line between them; lines that are indented stay as they are."""

    name: str
    brief: str
    """What it does, in a few words, as the list of commands has it."""
    description: str
    examples: Sequence[tuple[str, str]]
    """What to type, and what it is good for."""
    exits: Mapping[int, str]
    """What an exit status means; 2 is a wrong use where nothing else is said."""
    run: Callable[[argparse.Namespace], int]
    options: Callable[[argparse.ArgumentParser], None] = _takes_nothing
    output: str = ""
    """What it prints, where other programs read it."""
    environment: str = ""
    see_also: Sequence[str] = ()
    reads_configuration: bool = False
    """Whether it takes `--env-file`: `run` is made with `configured` then."""

    @property
    def statuses(self) -> Mapping[int, str]:
        return {2: WRONG_USE, **self.exits}


def configured(run: Callable[[config.Config, argparse.Namespace], int]) -> Callable[[argparse.Namespace], int]:
    """What runs with the configuration, or says what is wrong with that."""
    return partial(_run_configured, run)


def _run_configured(run: Callable[[config.Config, argparse.Namespace], int], options: argparse.Namespace) -> int:
    try:
        return run(load_configuration(options), options)
    except config.ConfigError as exc:
        return unusable(exc.errors)
    except (ImagesError, PodTemplateError) as exc:
        return unusable(str(exc).splitlines())


def load_configuration(options: argparse.Namespace) -> config.Config:
    """From the environment and the file that is named, or `.env`. Raises ConfigError."""
    if options.env_file and not options.env_file.exists():
        raise config.ConfigError([f"--env-file: there is no file {str(options.env_file)!r}"])
    return config.load(os.environ, options.env_file or Path(".env"))


def unusable(errors: Sequence[str]) -> int:
    """Say so; the exit status of it."""
    print("mso: the configuration cannot be used:", file=sys.stderr)
    for error in errors:
        print(f"  - {error}", file=sys.stderr)
    print("see .env.template, or mso help run", file=sys.stderr)
    return 2


def fail(command: str, why: object) -> int:
    """Say why a command failed; the exit status of it."""
    print(f"mso {command}: {why}", file=sys.stderr)
    return 1


def count(text: str) -> int:
    """A type of arguments."""
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 up")
    return int(text)


def seconds(text: str) -> float:
    """A type of arguments."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 86_400:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds from 0 to 86400")
    return value
