"""`mso cleanup`: a simulation is removed by hand, whether a service lives or not."""

import argparse
import asyncio

from mso import logs
from mso.backplane import BackplaneError
from mso.commands import Command, configured, fail
from mso.config import Config


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--simulation", required=True, metavar="SIM", help="the id of the simulation, all of its runs")
    parser.add_argument("--dry-run", action="store_true", help="say what would be removed, and remove nothing")


def _cleanup(configuration: Config, options: argparse.Namespace) -> int:
    from mso.cleanup import cleanup
    from mso.edges import build_backplane

    logs.configure("WARNING", configuration.log_format)
    backplane = build_backplane(configuration)
    try:
        models = asyncio.run(cleanup(backplane, options.simulation, dry_run=options.dry_run, say=print))
    except (BackplaneError, OSError) as exc:
        return fail("cleanup", exc)
    if not models:
        print(f"nothing of {options.simulation} is there")
    return 0


CLEANUP = Command(
    name="cleanup",
    brief="remove what is left of a simulation",
    description="""\
Remove everything of one simulation where models run: what lives is ended, and logs that are kept go too. It needs no \
running service, and does not ask one; a service that runs reports the models as FAILED, PodDeleted. To end a \
simulation in good order there is mso stop.""",
    options=_options,
    examples=(
        ("mso cleanup --simulation sim02-abc --dry-run", "say what would be removed"),
        ("mso cleanup --simulation sim02-abc", "remove it"),
    ),
    exits={0: "nothing of it is left", 1: "something is, or the backplane cannot be reached"},
    see_also=("stop", "status"),
    run=configured(_cleanup),
    reads_configuration=True,
)
