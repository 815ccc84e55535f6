"""Completion: what a shell is told, a shell understands."""

import shutil
import subprocess
from pathlib import Path

import pytest

from mso.cli import main

COMPLETE = """\
source "$1"
shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}; COMP_TYPE=9; COMP_KEY=9
$(complete -p mso | sed 's/.*-F \\([^ ]*\\).*/\\1/') mso "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
printf '%s\\n' "${COMPREPLY[@]}"
"""
"""What bash does when Tab is pressed behind these words."""


@pytest.fixture
def script(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    assert main(["completion", "bash"]) == 0
    path = tmp_path / "completion.bash"
    path.write_text(capsys.readouterr().out)
    return path


def tab(script: Path, *words: str) -> list[str]:
    told = subprocess.run(
        ["bash", "--norc", "-c", COMPLETE, "bash", str(script), *words],
        cwd=script.parent,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert told.stderr == ""
    return [line.strip() for line in told.stdout.splitlines() if line]


def test_bash_completes_commands(script: Path) -> None:
    """The rest of a word, or all that begin so."""
    assert tab(script, "mso", "doc") == ["doctor"]
    assert sorted(tab(script, "mso", "st")) == ["status", "stop"]


def test_bash_completes_options_of_a_command(script: Path) -> None:
    """Those of that command, and no other."""
    assert tab(script, "mso", "status", "--wa") == ["--watch"]
    assert tab(script, "mso", "stop", "--no") == ["--no-wait"]
    assert tab(script, "mso", "stop", "--wa") == []


def test_bash_completes_files(script: Path) -> None:
    """Where a file is wanted."""
    (script.parent / "production.env").touch()
    assert tab(script, "mso", "run", "--env-file", "prod") == ["production.env"]


def test_bash_completes_choices(script: Path) -> None:
    """What an option can be."""
    assert tab(script, "mso", "history", "--format", "c") == ["csv"]


@pytest.mark.parametrize("shell", ("zsh", "tcsh"))
def test_other_shells_load_theirs(shell: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It names every command, and where the shell is installed, it reads it without a complaint."""
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert all(name in script for name in ("doctor", "status", "completion"))
    if found := shutil.which(shell):
        path = tmp_path / "script"
        path.write_text(script)
        subprocess.run([found, "-n", str(path)], check=True, timeout=60)


def test_a_shell_that_is_not_known_is_a_wrong_use() -> None:
    """Status 2."""
    with pytest.raises(SystemExit) as ended:
        main(["completion", "fish"])
    assert ended.value.code == 2
