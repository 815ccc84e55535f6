"""`mso help` and `mso completion`: what the commands say of themselves, to people and to shells."""

import argparse
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from mso.commands import Command
from mso.commands.page import Page, actions

SHELLS = ("bash", "zsh", "tcsh")


def _help_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("about", nargs="?", metavar="COMMAND", help="the command to explain (default: what there is)")
    parser.add_argument("--markdown", action="store_true", help="the reference of all commands, as Markdown")


def _help(options: argparse.Namespace) -> int:
    pages: Mapping[str, Page] = options.pages
    if options.markdown:
        print(reference(pages.values()), end="")
    elif options.about is None:
        options.program.print_help()
    elif options.about in pages:
        print(pages[options.about].text(), end="")
    else:
        print(f"mso help: there is no command {options.about!r}; there are {', '.join(pages)}", file=sys.stderr)
        return 2
    return 0


def _completion_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=SHELLS, metavar="SHELL", help="bash, zsh or tcsh")


def _completion(options: argparse.Namespace) -> int:
    import shtab

    pages: Iterable[Page] = options.pages.values()
    for page in pages:
        for action in actions(page.parser):
            if action.type is Path:
                action.complete = shtab.FILE  # type: ignore[attr-defined] # where shtab looks for it
    print(shtab.complete(options.program, shell=options.shell))
    return 0


HELP = Command(
    name="help",
    brief="explain a command",
    description="""\
Explain a command: what it does, what it takes, how it is used, what it prints, and what its exit status means. \
mso COMMAND --help says the same.""",
    options=_help_options,
    examples=(
        ("mso help", "list the commands"),
        ("mso help status", "explain one"),
        ("mso help --markdown > commands.md", "all of them in one document"),
    ),
    exits={0: "explained", 2: "there is no such command; a wrong use"},
    run=_help,
)

COMPLETION = Command(
    name="completion",
    brief="make a shell complete commands and options",
    description="""\
Print a script for a shell, after which Tab completes commands, options and files. Ids of simulations are not \
completed: for those the ledger would be asked at each Tab.

bash needs nothing else for it; zsh has to have run compinit.""",
    options=_completion_options,
    output="The script, on stdout.",
    examples=(
        ('eval "$(mso completion bash)"', "in this shell; in ~/.bashrc for every one"),
        ("mso completion bash > ~/.local/share/bash-completion/completions/mso", "the same, loaded when needed"),
        ("mso completion zsh > ~/.zfunc/_mso", "where ~/.zfunc is in fpath"),
        ("mso completion tcsh > ~/.mso.tcsh", "and `source ~/.mso.tcsh` in ~/.tcshrc"),
    ),
    exits={0: "printed"},
    run=_completion,
)


def reference(pages: Iterable[Page]) -> str:
    """All pages in one document."""
    head = """\
# Commands

Made by `mso help --markdown`; a test holds the two together. `mso help COMMAND`, or `mso COMMAND --help`, says the same
on a terminal, and `mso completion` makes a shell complete it.

The exit status is 130 where Ctrl-C ended a command, and nothing else is said of it.
"""
    return "\n".join([head, *(page.markdown() for page in pages)])
