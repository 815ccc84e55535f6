"""The commands: what an operator and a newcomer type. Exit status 0 is success, 1 a failure, 2 a wrong use."""

import argparse
import asyncio
import gc
import os
import signal
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import structlog

from mso import __version__, config, crash, logs, lookback
from mso.backplane import BackplaneError
from mso.backplane.images import ImagesError, LocalImages
from mso.backplane.lease import LeaseLostError
from mso.backplane.pod_template import PodTemplate, PodTemplateError
from mso.ledger import DeposedError, LedgerError, UnusableLedgerError

log = structlog.get_logger()

DESCRIPTION = """\
The Model Services Orchestrator: deploys the models of a simulation when a simulation orchestrator asks for them over
MQTT, follows how they do, and reports how each of them ends."""

EXAMPLES = """\
examples:
  mso demo                     four models, two of which crash, on this machine alone
  mso run                      the service, as the environment and .env say
  mso run --check              say what is wrong with the configuration, and start nothing
  mso history                  the simulations that were, and with --simulation X the models of one
  mso logs X MODEL             what a model that failed wrote last
  mso cleanup --simulation X   remove what is left of a simulation
"""

RUN_EXAMPLES = """\
The configuration comes from environment variables, and from .env below them; .env.template documents each one.

example:
  SIMULATOR_NAME=my-so MSO_BACKPLANE=local MSO_LOCAL_IMAGES=images.yaml mso run

SIGTERM and SIGINT end the service; models are left running, and are followed again when it comes back.
exit status: 0 ended as asked, 1 something failed, 2 the configuration cannot be used
"""


DEMO_DESCRIPTION = """\
Play a simulation on this machine alone: an embedded broker, the service, a fake simulation orchestrator, and fake
models as processes. Without options: four models, two of which crash."""

DEMO_EXAMPLES = """\
examples:
  mso demo
  mso demo --models 20 --run-seconds 5
  mso demo --scenario mine.yaml --json | tail -n 1

A scenario file to copy: simulation_components/fake_simulator/scenarios/endings.yaml

exit status: 0 the simulation orchestrator heard what the scenario expects, 1 it did not, 2 a wrong use
"""


CLEANUP_DESCRIPTION = """\
Remove everything of one simulation where models run: what lives is ended, and logs that are kept go too. It needs no
running service, and does not ask one; a service that runs reports the models as FAILED, PodDeleted."""

CLEANUP_EXAMPLES = """\
The configuration is that of mso run.

examples:
  mso cleanup --simulation sim02-abc --dry-run
  mso cleanup --simulation sim02-abc

exit status: 0 nothing of it is left, 1 something is, or the backplane cannot be reached, 2 a wrong use
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """The entry point of the console script `mso`."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.command is None:
        parser.print_help()
        return 2
    try:
        status: int = options.run(options)
    except KeyboardInterrupt:
        return 130
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mso", description=DESCRIPTION, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action="version", version=f"mso {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")

    def add(
        name: str, brief: str, description: str, examples: str, run: Callable[[config.Config, argparse.Namespace], int]
    ) -> argparse.ArgumentParser:
        """A command that reads the configuration."""
        command = _add(commands, name, brief, description, examples)
        command.add_argument("--env-file", type=Path, metavar="FILE", help="instead of ./.env")
        command.set_defaults(run=partial(_configured, run))
        return command

    run = add("run", "run the service", "Run the service until it is told to stop.", RUN_EXAMPLES, _run)
    run.add_argument("--check", action="store_true", help="check the configuration, print it, and exit")
    clean = add("cleanup", "remove what is left of a simulation", CLEANUP_DESCRIPTION, CLEANUP_EXAMPLES, _cleanup)
    clean.add_argument("--simulation", required=True, metavar="X", help="the id of the simulation, all of its runs")
    clean.add_argument("--dry-run", action="store_true", help="say what would be removed, and remove nothing")
    lookback.add_commands(add)
    demo = _add(commands, "demo", "play a simulation on this machine", DEMO_DESCRIPTION, DEMO_EXAMPLES)
    what = demo.add_mutually_exclusive_group()
    what.add_argument("--models", type=_count, metavar="N", help="N models that all succeed")
    what.add_argument("--scenario", type=Path, metavar="FILE", help="the scenario in this YAML file")
    demo.add_argument("--run-seconds", type=_seconds, metavar="S", help="how long every model works once it is ready")
    demo.add_argument("--json", action="store_true", help="one JSON object as the last line, instead of the account")
    demo.set_defaults(run=_demo)
    return parser


def _add(commands: Any, name: str, brief: str, description: str, examples: str) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(
        name,
        help=brief,
        description=description,
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    return command


def _configured(run: Callable[[config.Config, argparse.Namespace], int], options: argparse.Namespace) -> int:
    """Run a command with the configuration, or say what is wrong with that."""
    try:
        if options.env_file and not options.env_file.exists():
            raise config.ConfigError([f"--env-file: there is no file {str(options.env_file)!r}"])
        return run(config.load(os.environ, options.env_file or Path(".env")), options)
    except config.ConfigError as exc:
        return _unusable(exc.errors)
    except (ImagesError, PodTemplateError) as exc:
        return _unusable(str(exc).splitlines())


def _run(configuration: config.Config, options: argparse.Namespace) -> int:
    if options.check:
        if configuration.local_images:
            LocalImages.load(configuration.local_images)
        if configuration.pod_template:
            PodTemplate.load(configuration.pod_template)
        for variable, value in configuration.shown().items():
            print(f"{variable}={value}")
        return 0
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


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    first = group.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first


def _cleanup(configuration: config.Config, options: argparse.Namespace) -> int:
    from mso.cleanup import cleanup
    from mso.service import build_backplane

    logs.configure("WARNING", configuration.log_format)
    backplane = build_backplane(configuration)
    try:
        models = asyncio.run(cleanup(backplane, options.simulation, dry_run=options.dry_run, say=print))
    except (BackplaneError, OSError) as exc:
        print(f"mso cleanup: {exc}", file=sys.stderr)
        return 1
    if not models:
        print(f"nothing of {options.simulation} is there")
    return 0


def _demo(options: argparse.Namespace) -> int:
    from fake_simulator.scenario import ScenarioError
    from fake_simulator.scenario_file import parse

    from mso import demo
    from mso.broker.embedded import EmbeddedBrokerError

    arguments: list[str] = []
    if options.scenario:
        try:
            scenario = parse(options.scenario.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, ScenarioError) as exc:
            print(f"mso demo: {options.scenario} cannot be played:\n{exc}", file=sys.stderr)
            return 2
        for name in (scenario.simulation, *scenario.model_ids):
            if any(character.isspace() for character in name):
                print(f"mso demo: {name!r}: the broker of the demo takes no id with white space", file=sys.stderr)
                return 2
        arguments += ["--scenario", str(options.scenario)]
    if options.models is not None:
        arguments += ["--models", str(options.models)]
    if options.run_seconds is not None:
        arguments += ["--run-seconds", str(options.run_seconds)]
    level = os.environ.get("LOG_LEVEL", "").upper()
    if level not in config.LOG_LEVELS:
        level = "INFO"
    try:
        return demo.run(demo.Options(tuple(arguments), json=options.json, log_level=level))
    except EmbeddedBrokerError as exc:
        print(f"mso demo: {exc}", file=sys.stderr)
    except ExceptionGroup:
        log.critical("demo.failed", exc_info=True)
    return 1


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 up")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= 86_400:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds from 0 to 86400")
    return seconds


def _unusable(errors: Sequence[str]) -> int:
    print("mso: the configuration cannot be used:", file=sys.stderr)
    for error in errors:
        print(f"  - {error}", file=sys.stderr)
    print("see .env.template, or mso run --help", file=sys.stderr)
    return 2


async def _serve(configuration: config.Config) -> None:
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
