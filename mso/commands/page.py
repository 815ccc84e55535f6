"""Help: a command as a page for a terminal, like one of man, and all of them as a page of Markdown. Pure.

Not made by argparse, which breaks lines as the release of Python and the width of the terminal have it: what stands in
docs/commands.md must be the same everywhere.
"""

import argparse
import re
import textwrap
from collections.abc import Callable, Iterator, Sequence

from mso.commands import CONFIGURATION, Command

PROGRAM = "mso"
MARGIN = " " * 4


class Parser(argparse.ArgumentParser):
    """A parser whose help is made here."""

    render: Callable[[], str]

    def format_help(self) -> str:
        return self.render()


class Page:
    """A command and what its parser takes."""

    def __init__(self, command: Command, parser: argparse.ArgumentParser, *, width: int = 80) -> None:
        self.command = command
        self.parser = parser
        self._width = max(40, min(width, 100))

    def text(self) -> str:
        """For a terminal."""
        command = self.command
        sections = [
            ("NAME", self._fill(f"{PROGRAM} {command.name} - {command.brief}")),
            ("SYNOPSIS", textwrap.wrap(self.synopsis(), self._width - 8, subsequent_indent=MARGIN)),
            ("DESCRIPTION", self._fill(command.description)),
            ("OPTIONS", list(self._options())),
            ("OUTPUT", self._fill(command.output)),
            ("EXAMPLES", list(self._examples())),
            ("EXIT STATUS", list(self._statuses())),
            ("ENVIRONMENT", self._fill(self.environment())),
            ("SEE ALSO", self._fill(", ".join(self.see_also()))),
        ]
        return (
            "\n\n".join(
                "\n".join([title, *(f"{MARGIN}{line}".rstrip() for line in lines)])
                for title, lines in sections
                if lines
            )
            + "\n"
        )

    def markdown(self) -> str:
        """For the documentation."""
        command = self.command
        parts = [
            f"## {PROGRAM} {command.name}",
            f"```\n{self.synopsis()}\n```",
            _prose(command.description),
        ]
        if options := list(self.described()):
            lines = [f"| `{names}` | {_cell(about)} |" for names, about in options]
            parts.append("\n".join(["| option | |", "|---|---|", *lines]))
        if command.output:
            parts.append(_prose(command.output))
        shown = "\n".join(f"{typed}\n{MARGIN}# {about}" for typed, about in command.examples)
        parts.append(f"```sh\n{shown}\n```")
        lines = [f"| {status} | {_cell(meaning)} |" for status, meaning in sorted(command.statuses.items())]
        parts.append("\n".join(["| exit status | |", "|---|---|", *lines]))
        if self.environment():
            parts.append(_prose(self.environment()))
        if command.see_also:
            parts.append("See also " + ", ".join(f"[{name}](#{_anchor(name)})" for name in self.see_also()) + ".")
        return "\n\n".join(parts) + "\n"

    def synopsis(self) -> str:
        return " ".join([PROGRAM, self.command.name, *map(_usage, self._taken())])

    def environment(self) -> str:
        own = self.command.environment
        return "\n\n".join(filter(None, (CONFIGURATION if self.command.reads_configuration else "", own)))

    def see_also(self) -> list[str]:
        return [f"{PROGRAM} {name}" for name in self.command.see_also]

    def described(self) -> Iterator[tuple[str, str]]:
        """What it takes: how it is written, and what it means."""
        for action in self._taken():
            yield ", ".join(_written(action)), action.help or ""

    def _taken(self) -> Sequence[argparse.Action]:
        return [action for action in actions(self.parser) if "--help" not in action.option_strings]

    def _fill(self, text: str, indent: str = "") -> list[str]:
        return [f"{indent}{line}" if line else line for line in _filled(text, self._width - len(MARGIN) - len(indent))]

    def _options(self) -> Iterator[str]:
        for names, about in self.described():
            yield names
            yield from self._fill(about, MARGIN)

    def _examples(self) -> Iterator[str]:
        for typed, about in self.command.examples:
            yield typed
            yield from self._fill(about, MARGIN)

    def _statuses(self) -> Iterator[str]:
        for status, meaning in sorted(self.command.statuses.items()):
            first, *others = textwrap.wrap(meaning, self._width - len(MARGIN) - 5)
            yield f"{status:<5}{first}"
            yield from (f"{'':5}{line}" for line in others)


def actions(parser: argparse.ArgumentParser) -> Sequence[argparse.Action]:
    """What a parser takes. There is no public way to ask it; shtab does the same."""
    return parser._actions


def overview(description: str, commands: Sequence[Command], *, width: int = 80) -> str:
    """All that there is, for a terminal."""
    room = max(len(command.name) for command in commands) + 2
    width = max(40, min(width, 100))
    lines = [f"usage: {PROGRAM} COMMAND [OPTIONS]", "", *_filled(description, width), "", "commands:"]
    lines += [f"  {command.name:<{room}}{command.brief}" for command in commands]
    lines += ["", "examples:"]
    lines += [f"  {command.examples[0][0]:<{26}}{command.examples[0][1]}" for command in commands[:5]]
    lines += ["", f"{PROGRAM} help COMMAND explains one of them; {PROGRAM} --version says which release this is."]
    return "\n".join(lines) + "\n"


def _filled(text: str, width: int) -> list[str]:
    """Paragraphs broken into lines; what is indented stays as it is."""
    lines: list[str] = []
    for paragraph in filter(None, text.strip("\n").split("\n\n")):
        if lines:
            lines.append("")
        if paragraph.startswith(" "):
            lines += paragraph.splitlines()
        else:
            lines += textwrap.wrap(paragraph, width, break_on_hyphens=False)
    return lines


def _written(action: argparse.Action) -> list[str]:
    """As it is typed, with the value that it takes."""
    if not action.option_strings:
        return [_value(action)]
    takes = f" {_value(action)}" if action.nargs != 0 else ""
    return [f"{name}{takes}" for name in action.option_strings]


def _value(action: argparse.Action) -> str:
    if isinstance(action.metavar, str):
        return action.metavar
    return "|".join(map(str, action.choices)) if action.choices else action.dest.upper()


def _usage(action: argparse.Action) -> str:
    written = _written(action)[0]
    return written if action.required else f"[{written}]"


def _prose(text: str) -> str:
    """Paragraphs as Markdown; what is indented becomes a block, and what looks like something typed is set so."""
    parts = []
    for paragraph in filter(None, text.strip("\n").split("\n\n")):
        if paragraph.startswith(" "):
            parts.append(f"```\n{textwrap.dedent(paragraph)}\n```")
        else:
            parts.append(_typed("\n".join(textwrap.wrap(paragraph, 120, break_on_hyphens=False))))
    return "\n\n".join(parts)


def _cell(text: str) -> str:
    return _typed(text).replace("|", "\\|")


def _typed(text: str) -> str:
    return re.sub(r"(?<![\w`/])((?:--[a-z][a-z-]+)|(?:(?:MSO|MQTT|LOG|KUBERNETES|SIMULATOR)_[A-Z_]+))", r"`\1`", text)


def _anchor(heading: str) -> str:
    return heading.replace(" ", "-")
