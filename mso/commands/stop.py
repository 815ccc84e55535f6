"""`mso stop`: a simulation is stopped by the running service."""

import argparse
import asyncio

from mso import logs
from mso.commands import Command, configured, fail, seconds
from mso.config import Config
from mso.history import UnknownError
from mso.ledger import LedgerError, UnusableLedgerError
from mso.model import SimulationId, SimulatorName
from mso.wording import age

BEYOND_GRACE_SECONDS = 120.0
"""How long it may take, after what models get to end by themselves, until nothing of them is left."""


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("simulation", metavar="SIM", help="the id of the simulation")
    parser.add_argument("--no-wait", action="store_true", help="return when the broker has the message")
    parser.add_argument(
        "--timeout", type=seconds, metavar="S", help="wait so long at most (MSO_STOP_GRACE_SECONDS and two minutes)"
    )
    parser.add_argument(
        "--simulator",
        metavar="NAME",
        default="",
        help="whose it is: for where the ledger cannot be read. Then nothing is waited for",
    )


def _stop(configuration: Config, options: argparse.Namespace) -> int:
    logs.configure("ERROR", configuration.log_format)
    try:
        return asyncio.run(_ask(configuration, options))
    except (LedgerError, UnusableLedgerError, UnknownError) as error:
        return fail("stop", error)


async def _ask(configuration: Config, options: argparse.Namespace) -> int:
    from mso import stop
    from mso.edges import build_ledger, build_visitor

    broker = build_visitor(configuration)
    try:
        if options.simulator:
            target = stop.Target(SimulationId(options.simulation), SimulatorName(options.simulator.lower()))
            if complaint := _foreign(configuration, target.simulator):
                return fail("stop", complaint)
            await stop.tell(broker, target)
            print(f"the broker has the SimulationDone of {target.simulation}")
            return 0
        async with build_ledger(configuration, read_only=True) as ledger:
            target, run = await stop.target_of(ledger, options.simulation)
            name = f"run {run.record.key.run} of {target.simulation}"
            if run.record.ended_at:
                print(f"{name} has ended already")
                return 0
            if complaint := _foreign(configuration, target.simulator):
                return fail("stop", complaint)
            await stop.tell(broker, target)
            if options.no_wait:
                print(f"the broker has the SimulationDone of {name}")
                return 0
            patience = options.timeout
            if patience is None:
                patience = configuration.stop_grace_seconds + BEYOND_GRACE_SECONDS
            took = await stop.wait_for_end(
                ledger,
                run,
                seconds=patience,
                user=configuration.mqtt_username,
                say=lambda text: print(text, flush=True),
            )
            print(f"{name} has ended, after {age(took)}")
            return 0
    except stop.NotStoppedError as error:
        return fail("stop", error)


def _foreign(configuration: Config, simulator: str) -> str:
    if simulator in configuration.simulators:
        return ""
    served = ", ".join(configuration.simulators)
    return f"it is of the simulator {simulator}, and this configuration serves {served}: set SIMULATOR_NAME"


STOP = Command(
    name="stop",
    brief="stop a simulation in good order",
    description="""\
Stop the newest run of a simulation: what of it lives gets MSO_STOP_GRACE_SECONDS to end by itself, the rest is \
removed, and its simulation orchestrator is told of each model, and of the end. Then wait until it has ended, and say \
meanwhile how many models still live. Ctrl-C ends the waiting, not the stopping.

It is the running service that stops it: it is told SimulationDone, as the simulation orchestrator would tell it. The \
user of MSO therefore has to be allowed to publish to /lifecycle/SIMULATOR/mso/SIM/SimulationDone. To remove what is \
left of a simulation without a service there is mso cleanup.""",
    options=_options,
    examples=(
        ("mso stop sim02-abc", "stop it, and wait until it has ended"),
        ("mso stop sim02-abc --no-wait", "only ask for it"),
        ("mso stop sim02-abc --simulator dots-so", "from a machine that cannot read the ledger"),
    ),
    exits={
        0: "it has ended, now or before; without waiting: the broker has the message",
        1: "there is no such simulation, the message did not go out, or it has not ended in time",
    },
    see_also=("status", "cleanup"),
    run=configured(_stop),
    reads_configuration=True,
)
