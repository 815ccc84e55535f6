"""`mso history`, `mso logs` and `mso resend-ready`: what is looked up in the ledger, beside a service or without."""

import argparse
import asyncio
import sys
from collections.abc import Callable
from typing import Any

from mso import history
from mso.commands import Command, configured, count, fail
from mso.config import Config
from mso.ledger import LedgerError, UnusableLedgerError


def _history_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--simulation", metavar="SIM", default="", help="the models of this simulation")
    parser.add_argument("--run", dest="number", type=int, metavar="N", help="of its run N (default: the last)")
    parser.add_argument("--limit", type=count, metavar="N", default=50, help="so many simulations at most (50)")
    parser.add_argument("--format", choices=history.FORMATS, default="table", help="how it is written (table)")


def _logs_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("simulation", metavar="SIM", help="the id of the simulation")
    parser.add_argument("model", metavar="MODEL", help="the id of the model")
    parser.add_argument("--run", dest="number", type=int, metavar="N", help="of run N (default: the last)")


def _resend_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("simulation", metavar="SIM", help="the id of the simulation")


def _history(configuration: Config, options: argparse.Namespace) -> int:
    from mso.edges import build_ledger

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


def _logs(configuration: Config, options: argparse.Namespace) -> int:
    from mso.edges import build_ledger

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


def _resend(configuration: Config, options: argparse.Namespace) -> int:
    from mso.edges import build_ledger, build_visitor
    from mso.resend import NotResentError, resend_ready

    async def send() -> int:
        async with build_ledger(configuration) as ledger:
            try:
                await resend_ready(ledger, build_visitor(configuration), options.simulation)
            except NotResentError as error:
                return fail("resend-ready", error)
        print(f"the broker has the ModelsReady of {options.simulation}")
        return 0

    return _told("resend-ready", send)


def _told(command: str, look: Callable[[], Any]) -> int:
    try:
        status: int = asyncio.run(look())
    except (LedgerError, UnusableLedgerError, history.UnknownError) as error:
        return fail(command, error)
    return status


HISTORY = Command(
    name="history",
    brief="list the simulations that were",
    description="""\
List the simulations that the ledger remembers, the last one first; or, with --simulation, the models of one. What is \
over and removed stays for MSO_HISTORY_DAYS.""",
    options=_history_options,
    output="""\
A table for people, with times of this machine's zone; CSV with a header; or a JSON array of objects with the same \
keys. Times are ISO 8601 in UTC there.

Of a simulation: simulation, run, simulator, state (not ready, ready, stopping, ended), models (how many), created, \
running, succeeded, failed (how many of them), opened, ended.

Of a model: model, run, state, reason, exit_code, attempt, image, node, created, started, finished, message.""",
    examples=(
        ("mso history", "the last fifty"),
        ("mso history --limit 1000 --format csv > simulations.csv", "for a spreadsheet"),
        ("mso history --simulation sim02-abc", "the models of its last run"),
        ("mso history --simulation sim02-abc --run 3 --format json", "those of its third, for another program"),
    ),
    exits={0: "shown", 1: "there is no such simulation, or the ledger cannot be read"},
    see_also=("status", "logs"),
    run=configured(_history),
    reads_configuration=True,
)

LOGS = Command(
    name="logs",
    brief="show what a model that failed wrote last",
    description="""\
Show what a model that failed wrote last, and what its backplane had to complain of, also after its pod is gone. Of \
models that succeeded no lines are kept.""",
    options=_logs_options,
    output="The lines go to stdout, what is known besides to stderr.",
    examples=(
        ("mso logs sim02-abc fake_model_1", "of its last run"),
        ("mso logs sim02-abc fake_model_1 --run 3", "of its third"),
    ),
    exits={0: "shown", 1: "there are none, or the ledger cannot be read"},
    see_also=("status", "history"),
    run=configured(_logs),
    reads_configuration=True,
)

RESEND_READY = Command(
    name="resend-ready",
    brief="send a ModelsReady that was withheld",
    description="""\
Send the ModelsReady of a simulation that was withheld because nobody knows whether it went out (in the log: \
simulation.ready_in_doubt; mso status says it as well). Look first whether the simulation has begun: a second \
ModelsReady does harm.""",
    options=_resend_options,
    examples=(("mso resend-ready sim02-abc", "it has not begun, and waits for it"),),
    exits={0: "the broker has it", 1: "it was not sent, or nobody knows"},
    see_also=("status",),
    run=configured(_resend),
    reads_configuration=True,
)
