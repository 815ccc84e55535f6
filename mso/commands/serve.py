"""`mso run`: the service, until it is told to stop."""

import argparse
import asyncio
import gc
import os
import signal

import structlog

from mso import crash, logs
from mso.backplane import BackplaneError
from mso.backplane.images import LocalImages
from mso.backplane.lease import LeaseLostError
from mso.backplane.pod_template import PodTemplate
from mso.commands import Command, configured
from mso.config import Config
from mso.ledger import DeposedError, LedgerError, UnusableLedgerError

log = structlog.get_logger()


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--check", action="store_true", help="check the configuration, print it, and exit")


def _run(configuration: Config, options: argparse.Namespace) -> int:
    if options.check:
        return _check(configuration)
    logs.configure(configuration.log_level, configuration.log_format)
    if point := os.environ.get("MSO_CRASH_AT"):  # of the tests, and so no part of the configuration
        crash.arm(point)
    try:
        asyncio.run(_serve(configuration))
    except (BackplaneError, LedgerError, UnusableLedgerError, OSError) as exc:
        log.critical("service.cannot_start", why=str(exc))
        return 1
    except ExceptionGroup as group:
        if known := group.subgroup((DeposedError, LeaseLostError, UnusableLedgerError)):
            log.critical("service.ended", why=str(_first(known)), hint="it is safe to start it again")
        else:
            log.critical("service.failed", exc_info=True)
        return 1
    return 0


def _check(configuration: Config) -> int:
    """Raises ImagesError and PodTemplateError."""
    if configuration.local_images:
        LocalImages.load(configuration.local_images)
    if configuration.pod_template:
        PodTemplate.load(configuration.pod_template)
    for variable, value in configuration.shown().items():
        print(f"{variable}={value}")
    return 0


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    first = group.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first


async def _serve(configuration: Config) -> None:
    # Imported here: `mso --help` and `mso run --check` need no broker, no backplane and no web server.
    from mso.service import Service

    # Next to nothing here is garbage that only a search finds, and what a model is made of stays as long as the model:
    # left to itself the search takes a tenth of a second, again and again, when thousands of models come.
    gc.set_threshold(50_000, 20, 100)
    gc.freeze()

    service = Service(configuration)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, service.stop)
    await service.run()


RUN = Command(
    name="run",
    brief="run the service",
    description="""\
Run the service until SIGTERM or SIGINT. Models are left running then, and are followed again when it comes back; so \
they are after kill -9, and nothing that was acknowledged is lost.

SIMULATOR_NAME is the one variable without a default.""",
    options=_options,
    output="The log, on stderr; with --check the variables that are in force, secrets hidden, on stdout.",
    examples=(
        ("mso run", "the service, as the environment and .env say"),
        ("mso run --check", "say what is wrong with the configuration, and start nothing"),
        (
            "SIMULATOR_NAME=my-so MSO_BACKPLANE=local MSO_LOCAL_IMAGES=images.yaml mso run",
            "models as processes of this machine",
        ),
    ),
    exits={
        0: "ended as asked",
        1: "it could not start, or something failed: the last line of the log says what",
        2: "the configuration, the file of images or the pod template cannot be used; a wrong use",
    },
    see_also=("doctor", "status", "demo"),
    run=configured(_run),
    reads_configuration=True,
)
