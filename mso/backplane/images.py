"""What a container image means on this machine: a file that its owner wrote says it, never the message.

The file is YAML or JSON, one entry an image:

    "fake_model:0.0.1": [python3, -m, fake_model]
    "registry.example/heat-pump:2.1":
      command: [./run.sh, --fast]     # relative to this file, because it has a slash; else found on MSO's own PATH
      environment: {THREADS: 2}       # wins over the message
      directory: ~/heat-pump          # relative to this file; by default an empty directory of the attempt's own

An image is the entry whose name equals `imageUrl` character for character: no tag, registry or wildcard is implied.
"""

import os
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import yaml

from mso.backplane import DeployError
from mso.model import ModelSpec, Reason

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OWN_PREFIX = "_mso_"


class ImagesError(ValueError):
    """The file of images cannot be used: one line for everything that is wrong with it."""

    def __init__(self, path: Path, complaints: list[str]) -> None:
        super().__init__("\n".join(f"{path}: {complaint}" for complaint in complaints))
        self.complaints = tuple(complaints)


@dataclass(frozen=True, slots=True)
class LocalImage:
    """What runs in place of a container."""

    command: tuple[str, ...]
    """The program as an absolute path, then its arguments."""
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    directory: Path | None = None
    """Where it runs; None is a directory of the attempt's own."""


@dataclass(frozen=True, slots=True)
class Launch:
    """What is to be run for a model."""

    command: tuple[str, ...]
    environment: Mapping[str, str] = field(repr=False)
    directory: Path | None


@dataclass(frozen=True, slots=True)
class LocalImages:
    """Every image that this machine knows."""

    path: Path
    images: Mapping[str, LocalImage]

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read the file and find every program in it. Raises ImagesError, which lists all that is wrong."""
        path = path.expanduser().absolute()
        try:
            document = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise ImagesError(path, [f"cannot be read: {error}"]) from error
        if not isinstance(document, dict) or not document:
            raise ImagesError(
                path, ['must map images to commands, such as "fake_model:0.0.1": [python3, -m, fake_model]']
            )
        complaints: list[str] = []
        images = {}
        for name, entry in document.items():
            if not isinstance(name, str) or not name:
                complaints.append(f"image {name!r}: must be a text; put it in quotes")
                continue
            reader = _EntryReader(path.parent, entry)
            images[name] = reader.image()
            complaints += [f"image {name!r}: {complaint}" for complaint in reader.complaints]
        if complaints:
            raise ImagesError(path, complaints)
        return cls(path, images)

    def find(self, image: str) -> LocalImage:
        """Raises DeployError(ImagePullFailed) for an image that is not in the file."""
        try:
            return self.images[image]
        except KeyError:
            raise DeployError(
                Reason.IMAGE_PULL_FAILED, f"image {image!r} is not in {self.path}: add it there, with its command"
            ) from None

    def launch(self, spec: ModelSpec) -> Launch:
        """What to run for a model. Raises DeployError for an image or a variable that cannot be had here."""
        image = self.find(spec.image)
        environment = {"PATH": os.environ.get("PATH", os.defpath)}
        for variable in spec.environment:
            if complaint := complain_of_variable(variable.name, variable.value):
                raise DeployError(Reason.DEPLOY_FAILED, complaint)
            environment[variable.name] = variable.value
        return Launch(image.command, environment | dict(image.environment), image.directory)


def complain_of_variable(name: str, value: str) -> str | None:
    """Why a variable cannot be handed to a local process; None if it can. Never quotes the value."""
    if not _NAME.fullmatch(name):
        return f"environment variable {name!r}: a name here consists of letters, digits and _, and begins with no digit"
    if name.startswith(_OWN_PREFIX):
        return f"environment variable {name!r}: names that begin with {_OWN_PREFIX} are taken"
    if "\0" in value:
        return f"environment variable {name!r}: its value contains NUL"
    return None


class _EntryReader:
    """Reads one entry of the file and goes on after an error, so that one look at the message mends the whole file."""

    def __init__(self, base: Path, entry: object) -> None:
        self.complaints: list[str] = []
        self._base = base
        self._entry: dict[object, object] = entry if isinstance(entry, dict) else {"command": entry}

    def image(self) -> LocalImage:
        for unknown in self._entry.keys() - {"command", "environment", "directory"}:
            self.complaints.append(f"{unknown!r} is unknown: there are command, environment and directory")
        return LocalImage(self._command(), self._environment(), self._directory())

    def _command(self) -> tuple[str, ...]:
        words = self._entry.get("command")
        if not isinstance(words, list) or not words:
            self.complaints.append("command must be a list such as [python3, -m, fake_model]")
            return ()
        command = [self._text(word, f"word {number} of the command") for number, word in enumerate(words, 1)]
        program = self._beside_the_file(command[0]) if "/" in command[0] else command[0]
        found = shutil.which(program)
        if found is None:
            self.complaints.append(f"{program!r} is no program" + ("" if "/" in program else " on the PATH of MSO"))
            return ()
        return (os.path.abspath(found), *command[1:])  # noqa: PTH100 - keeps links: a virtual environment's python is one

    def _environment(self) -> dict[str, str]:
        variables = self._entry.get("environment") or {}
        if not isinstance(variables, dict):
            self.complaints.append("environment must map names to values")
            return {}
        environment = dict(self._variables(variables))
        for name, value in environment.items():
            if complaint := complain_of_variable(name, value):
                self.complaints.append(complaint)
        return environment

    def _variables(self, variables: dict[object, object]) -> Iterator[tuple[str, str]]:
        for name, value in variables.items():
            yield self._text(name, f"environment variable {name!r}"), self._text(value, f"the value of {name!r}")

    def _directory(self) -> Path | None:
        if "directory" not in self._entry:
            return None
        directory = Path(self._beside_the_file(self._text(self._entry["directory"], "directory")))
        if not directory.is_dir():
            self.complaints.append(f"directory {str(directory)!r} does not exist")
        return directory

    def _beside_the_file(self, path: str) -> str:
        try:
            return str(self._base / Path(path).expanduser())
        except RuntimeError as error:  # ~nobody
            self.complaints.append(f"{path!r}: {error}")
            return path

    def _text(self, value: object, what: str) -> str:
        """Texts and whole numbers are what they look like; `yes`, `1.10` and dates are not."""
        if isinstance(value, bool) or not isinstance(value, str | int):
            self.complaints.append(f"{what} must be a text; put it in quotes")
            return "?"
        if "\0" in str(value):
            self.complaints.append(f"{what} contains NUL")
            return "?"
        return str(value)
