"""`mso status`: what lives now and how it stands, once or live."""

import argparse
import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from mso.commands import Command, configured, fail
from mso.config import Config
from mso.history import UnknownError
from mso.ledger import LedgerError, UnusableLedgerError
from mso.wording import one_line

if TYPE_CHECKING:
    from mso.status import Status

LOOK_SECONDS = 1.0
"""Between two looks of --watch."""
_WIDE = 100_000
"""Lines are broken for terminals only: other programs want to find in one line what belongs together."""


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("simulation", nargs="?", metavar="SIM", default="", help="the models of its newest run")
    parser.add_argument("--all", action="store_true", help="also simulations that have ended, as long as logs are kept")
    parser.add_argument("--watch", action="store_true", help="go on, and show what changes, until Ctrl-C")
    parser.add_argument("--json", action="store_true", help="one JSON object; with --watch one a line for each change")


def _status(configuration: Config, options: argparse.Namespace) -> int:
    try:
        if options.watch:
            asyncio.run(_watch(configuration, options))
        else:
            _print(asyncio.run(_look(configuration, options)), options)
    except KeyboardInterrupt:
        if not options.watch:
            raise
    except (LedgerError, UnusableLedgerError, UnknownError) as error:
        return fail("status", error)
    return 0


async def _look(configuration: Config, options: argparse.Namespace) -> "Status":
    from mso import status
    from mso.edges import build_ledger
    from mso.supervision import ask

    async with build_ledger(configuration, read_only=True) as ledger:
        if options.simulation:
            found: tuple[status.Simulation, ...] = (await status.of_one(ledger, options.simulation),)
        else:
            found = await status.of_all(ledger, ended=options.all)
    if not configuration.http_port:
        return status.Status(found, asked=False)
    return status.Status(found, await ask(configuration.http_port, "/readyz"))


def _print(found: "Status", options: argparse.Namespace) -> None:
    from rich.console import Console

    from mso import status

    one = bool(options.simulation)
    if options.json:
        indent = None if options.watch else 2
        print(json.dumps(status.as_json(found, one=one), indent=indent, ensure_ascii=False), flush=True)
        return
    console = Console(highlight=False, width=None if sys.stdout.isatty() else _WIDE)
    page = status.as_page(found, datetime.now(UTC), one=one)
    if console.is_terminal:
        console.print(page)
        return
    with console.capture() as captured:
        console.print(page)
    # A table fills its lines up to its width; that is of no use to other programs.
    print("\n".join(line.rstrip() for line in captured.get().splitlines()), flush=True)


async def _watch(configuration: Config, options: argparse.Namespace) -> None:
    """Endless. On a terminal one page that is kept up to date; else a page, or a line of JSON, for each change."""
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    from mso import status

    looks = _looks(lambda: _look(configuration, options))
    if options.json or not sys.stdout.isatty():
        last = None
        async for found in looks:
            if isinstance(found, LedgerError):
                fail("status", f"{found}; trying again")
            elif found != last:
                if not options.json:
                    print(f"{datetime.now().astimezone():%Y-%m-%d %H:%M:%S}")
                _print(found, options)
                last = found
        return
    with Live(console=Console(highlight=False), auto_refresh=False) as live:
        async for found in looks:
            if isinstance(found, LedgerError):
                trouble = Text(f"mso status: {one_line(found, 300)}; trying again", style="red")
                live.update(trouble, refresh=True)
            else:
                live.update(status.as_page(found, datetime.now(UTC), one=bool(options.simulation)), refresh=True)


async def _looks(look: Callable[[], Awaitable["Status"]]) -> AsyncIterator["Status | LedgerError"]:
    """What is found now, and again and again; or why nothing is, if time may mend that."""
    while True:
        try:
            found: Status | LedgerError = await look()
        except LedgerError as error:
            found = error
        yield found
        await asyncio.sleep(LOOK_SECONDS)


STATUS = Command(
    name="status",
    brief="show which simulations live, and how their models do",
    description="""\
Show the simulations that live; or, with SIM, each model of its newest run. The ledger is what is shown: it is up to \
date within a moment, and is there without the service too. Whether a service is alive is asked on MSO_HTTP_PORT of \
this machine.

The states of a simulation are waiting (none of its models was created yet), not ready, ready (its ModelsReady is on \
its way, or was sent), stopping and ended. Those of a model are created, running (it announced ReadyForProcessing), \
succeeded and failed. What has not announced itself is named above the table.

With --watch a terminal shows one page that is kept up to date; elsewhere a page is written whenever something \
changed. Ctrl-C ends it, with exit status 0.""",
    options=_options,
    output="""\
With --json one object. Times are ISO 8601 in UTC, null where there is none. More fields may be added; these stay:

    service      null if MSO_HTTP_PORT is 0, else an object:
                 alive, ready (true or false), reasons (a list of texts)
    simulations  a list of objects; with SIM there are instead
    simulation   one of them, and
    models       a list, in the order in which they were asked for

    of a simulation:
      simulation, run, simulator, state
      ready           its ModelsReady was handed over to be sent, or withheld
      ready_withheld  nobody knows whether it went out: mso resend-ready
      models          how many
      created, running, succeeded, failed   how many of them
      undeployed      how many have not been seen where models run
      opened, ended, reported               times
    of a model:
      model, state, ready, deployed, attempt (2 is the first retry)
      since           when the present state began
      reason, exit_code, message, node      of its end; node may be empty
      image, created, started, finished""",
    examples=(
        ("mso status", "what lives"),
        ("mso status sim02-abc", "its models, with reasons and exit codes"),
        ("mso status sim02-abc --watch", "the same, live"),
        ("mso status --json | jq '.simulations[].simulation'", "for another program"),
        ("kubectl -n dots exec deploy/mso -- mso status", "of an MSO that runs in a cluster"),
    ),
    exits={0: "shown, also if nothing lives", 1: "there is no such simulation, or the ledger cannot be read"},
    see_also=("history", "logs", "stop", "doctor"),
    run=configured(_status),
    reads_configuration=True,
)
