"""The commands that look into the ledger: history, logs, resend-ready. They need no service, and disturb none."""

import argparse
import asyncio
import sys
from collections.abc import Callable
from typing import Any

from mso import history
from mso.config import Config
from mso.ledger import LedgerError, UnusableLedgerError

HISTORY = """\
List the simulations that the ledger remembers, the last one first; or, with --simulation, the models of one."""

HISTORY_EXAMPLES = """\
The configuration is that of mso run. What is over and removed stays for MSO_HISTORY_DAYS.

examples:
  mso history
  mso history --limit 1000 --format csv > simulations.csv
  mso history --simulation sim02-abc
  mso history --simulation sim02-abc --run 3 --format json

exit status: 0 shown, 1 there is no such simulation or the ledger cannot be read, 2 a wrong use
"""

LOGS = """\
Show what a model that failed wrote last, and what its backplane had to complain of, also after its pod is gone."""

LOGS_EXAMPLES = """\
The lines go to stdout, what is known besides to stderr.

examples:
  mso logs sim02-abc fake_model_1
  mso logs sim02-abc fake_model_1 --run 3

exit status: 0 shown, 1 there are none or the ledger cannot be read, 2 a wrong use
"""

RESEND = """\
Send the ModelsReady of a simulation that was withheld because nobody knows whether it went out (in the log:
simulation.ready_in_doubt). Look first whether the simulation has begun: a second ModelsReady does harm."""

RESEND_EXAMPLES = """\
example:
  mso resend-ready sim02-abc

exit status: 0 the broker has it, 1 it was not sent, or nobody knows, 2 a wrong use
"""

AddCommand = Callable[..., argparse.ArgumentParser]


def add_commands(add: AddCommand) -> None:
    """Add them to the parser; `add` makes one from name, help, description, examples and what runs it."""
    past = add("history", "list what was", HISTORY, HISTORY_EXAMPLES, show_history)
    past.add_argument("--simulation", metavar="X", default="", help="the models of this simulation")
    past.add_argument("--run", dest="number", type=int, metavar="N", help="of its run N (default: the last)")
    past.add_argument("--limit", type=int, metavar="N", default=50, help="so many simulations at most (50)")
    past.add_argument("--format", choices=history.FORMATS, default="table", help="table (default), csv or json")
    logs = add("logs", "show what a model wrote last", LOGS, LOGS_EXAMPLES, show_logs)
    logs.add_argument("simulation", metavar="SIM")
    logs.add_argument("model", metavar="MODEL")
    logs.add_argument("--run", dest="number", type=int, metavar="N", help="of run N (default: the last)")
    resend = add("resend-ready", "send a withheld ModelsReady", RESEND, RESEND_EXAMPLES, send_again)
    resend.add_argument("simulation", metavar="SIM")


def show_history(configuration: Config, options: argparse.Namespace) -> int:
    from mso.service import build_ledger  # here and below: --help needs no database

    async def look() -> int:
        async with build_ledger(configuration, read_only=True) as ledger:
            if options.simulation:
                table = await history.models(ledger, options.simulation, options.number)
            else:
                table = await history.runs(ledger, options.limit)
        history.show(table, options.format)
        if not table and options.format == "table":
            print("the ledger knows no simulation yet", file=sys.stderr)
        return 0

    return _told("history", look)


def show_logs(configuration: Config, options: argparse.Namespace) -> int:
    from mso.service import build_ledger

    async def look() -> int:
        async with build_ledger(configuration, read_only=True) as ledger:
            past = await history.lines(ledger, options.simulation, options.model, options.number)
        model = past.model
        ended = f", {model.reason}, exit code {model.exit_code}" if model.reason else ""
        print(f"run {model.key.run}, attempt {model.attempt}: {model.state.value}{ended}", file=sys.stderr)
        for text in (model.message, *past.warnings):
            if text:
                print(text, file=sys.stderr)
        for line in past.lines:
            print(line)
        if not past.lines:
            print("no lines of it are kept: the ledger keeps those of models that failed", file=sys.stderr)
        return 0 if past.lines else 1

    return _told("logs", look)


def send_again(configuration: Config, options: argparse.Namespace) -> int:
    from mso.resend import NotResentError, resend_ready
    from mso.service import build_ledger, build_visitor

    async def send() -> int:
        async with build_ledger(configuration) as ledger:
            try:
                await resend_ready(ledger, build_visitor(configuration), options.simulation)
            except NotResentError as error:
                print(f"mso resend-ready: {error}", file=sys.stderr)
                return 1
        print(f"the broker has the ModelsReady of {options.simulation}")
        return 0

    return _told("resend-ready", send)


def _told(command: str, look: Callable[[], Any]) -> int:
    try:
        status: int = asyncio.run(look())
    except (LedgerError, UnusableLedgerError, history.UnknownError) as error:
        print(f"mso {command}: {error}", file=sys.stderr)
        return 1
    return status
