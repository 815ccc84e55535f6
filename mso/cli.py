"""`mso`: the commands under one name. Exit status 0 is success, 1 a failure, 2 a wrong use, 130 an interruption."""

import argparse
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from mso import __version__
from mso.commands import Command
from mso.commands.cleanup import CLEANUP
from mso.commands.doctor import DOCTOR
from mso.commands.guide import COMPLETION, HELP
from mso.commands.lookback import HISTORY, LOGS, RESEND_READY
from mso.commands.page import PROGRAM, Page, Parser, overview
from mso.commands.play import DEMO
from mso.commands.serve import RUN
from mso.commands.status import STATUS
from mso.commands.stop import STOP

DESCRIPTION = """\
The Model Services Orchestrator: deploys the models of a simulation when a simulation orchestrator asks for them over \
MQTT, follows how they do, and reports how each of them ends."""

COMMANDS: Sequence[Command] = (
    DEMO,
    DOCTOR,
    RUN,
    STATUS,
    STOP,
    HISTORY,
    LOGS,
    CLEANUP,
    RESEND_READY,
    COMPLETION,
    HELP,
)
"""In the order in which somebody comes to need them."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The entry point of the console script `mso`."""
    program, pages = build()
    options = program.parse_args(arguments, argparse.Namespace(program=program, pages=pages))
    if options.command is None:
        program.print_help()
        return 2
    try:
        status: int = options.run(options)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Whoever reads has enough, as head(1) has. What is left in the buffer must not be tried again at the exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    return status


def build() -> tuple[Parser, Mapping[str, Page]]:
    """The parser of everything, and the page of each command."""
    width = shutil.get_terminal_size().columns
    program = Parser(PROGRAM)
    program.render = lambda: overview(DESCRIPTION, COMMANDS, width=width)
    program.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}", help="say which release")
    subparsers = program.add_subparsers(dest="command", metavar="COMMAND")
    pages = {}
    for command in COMMANDS:
        parser = subparsers.add_parser(command.name, help=command.brief)
        command.options(parser)
        if command.reads_configuration:
            parser.add_argument("--env-file", type=Path, metavar="FILE", help="instead of ./.env")
        parser.set_defaults(run=command.run)
        page = pages[command.name] = Page(command, parser, width=width)
        parser.render = page.text
    return program, pages
