"""`mso demo`: a simulation on one machine."""

import argparse
import os
import sys
from pathlib import Path

import structlog

from mso import config
from mso.commands import Command, count, fail, seconds

log = structlog.get_logger()


def _options(parser: argparse.ArgumentParser) -> None:
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--models", type=count, metavar="N", help="N models that all succeed")
    what.add_argument(
        "--scenario", type=Path, metavar="FILE", help="the scenario in this YAML file, instead of N models"
    )
    parser.add_argument("--run-seconds", type=seconds, metavar="S", help="how long every model works once it is ready")
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line, instead of the account")


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
        return fail("demo", exc)
    except ExceptionGroup:
        log.critical("demo.failed", exc_info=True)
    return 1


DEMO = Command(
    name="demo",
    brief="play a simulation on this machine",
    description="""\
Play a simulation on this machine alone: an embedded broker, the service, a fake simulation orchestrator, and fake \
models as processes. Without options: four models, two of which crash.

A scenario file to copy: simulation_components/fake_simulator/scenarios/endings.yaml""",
    options=_options,
    output="The log while it happens, on stderr; then what the simulation orchestrator received, on stdout.",
    examples=(
        ("mso demo", "four models, two of which crash, on this machine alone"),
        ("mso demo --models 20 --run-seconds 5", "twenty that succeed"),
        ("mso demo --scenario mine.yaml --json | tail -n 1", "a scenario of your own, for another program"),
    ),
    exits={
        0: "the simulation orchestrator heard what the scenario expects",
        1: "it did not, or something failed",
        2: "a scenario that cannot be played; a wrong use",
    },
    environment="LOG_LEVEL, and nothing else of the configuration.",
    see_also=("run",),
    run=_demo,
)
