"""Help: every command explains itself in the same way, and what it shows can be typed."""

import shlex
from pathlib import Path

import pytest

from mso.cli import COMMANDS, DESCRIPTION, build, main
from mso.commands import Command
from mso.commands.page import overview

ROOT = Path(__file__).parents[2]
IDS = [command.name for command in COMMANDS]
SECTIONS = ("NAME", "SYNOPSIS", "DESCRIPTION", "EXAMPLES", "EXIT STATUS")


@pytest.mark.parametrize("command", COMMANDS, ids=IDS)
def test_every_command_has_a_page_like_one_of_man(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    """With examples and exit statuses; `mso help COMMAND` and `mso COMMAND --help` say the same."""
    assert main(["help", command.name]) == 0
    page = capsys.readouterr().out
    titles = [line for line in page.splitlines() if line and not line.startswith(" ")]
    assert [title for title in titles if title in SECTIONS] == list(SECTIONS)
    with pytest.raises(SystemExit) as ended:
        main([command.name, "--help"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == page


@pytest.mark.parametrize("command", COMMANDS, ids=IDS)
@pytest.mark.parametrize("width", (60, 80, 200))
def test_a_page_fits_the_terminal(
    command: Command, width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Prose is broken into lines for it, and never longer than can be read; what is to be typed stays whole."""
    monkeypatch.setenv("COLUMNS", str(width))
    assert main(["help", command.name]) == 0
    whole = {f"    {typed}" for typed, _ in command.examples}
    verbatim = {f"    {line}" for line in f"{command.description}\n{command.output}".splitlines() if line[:1] == " "}
    prose = [line for line in capsys.readouterr().out.splitlines() if line not in whole | verbatim]
    assert max(map(len, prose)) <= min(width, 100)


@pytest.mark.parametrize("command", COMMANDS, ids=IDS)
def test_what_an_example_shows_can_be_typed(command: Command) -> None:
    """Its options are there, and it is an example of this command."""
    program, _ = build()
    assert command.examples
    for typed, about in command.examples:
        words = shlex.split(typed.removeprefix('eval "$(').removesuffix(')"'))
        words = words[words.index("mso") + 1 :]
        ends = [words.index(end) for end in ("|", ">") if end in words]
        assert program.parse_args(words[: min(ends, default=len(words))]).command == command.name
        assert about


@pytest.mark.parametrize("command", COMMANDS, ids=IDS)
def test_what_is_to_be_seen_as_well_is_there(command: Command) -> None:
    """Commands that a page points at exist."""
    assert set(command.see_also) <= set(IDS)
    assert {0, 2} <= set(command.statuses)


def test_the_overview_lists_every_command() -> None:
    """One line each."""
    lines = overview(DESCRIPTION, COMMANDS).splitlines()
    for command in COMMANDS:
        assert any(line.split() == [command.name, *command.brief.split()] for line in lines)


def test_help_for_what_is_no_command_says_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    """Status 2, and the list."""
    assert main(["help", "stauts"]) == 2
    assert "status" in capsys.readouterr().err
