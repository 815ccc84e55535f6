"""The command line and the environment: which scenario, changed in which way, played with which broker."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fake_simulator.scenario import Scenario, ScenarioError, succeeding, year
from fake_simulator.scenario_file import BUNDLED, bundled, parse
from fake_simulator.wire import Credentials

DESCRIPTION = """\
A simulation orchestrator that knows only the protocol: it asks for models over MQTT, listens until the last of them has
ended, and says whether what it heard is what the scenario expects.

  quickstart   four models, two of which crash: one before it is ready, one after (the default)
  endings      one model for each way of ending; the format of scenario files, with every field
  year         N models, M steps: waits for ModelsReady, sends step after step to all of them, then SimulationDone
"""

EPILOG = """\
environment: MQTT_HOST (localhost), MQTT_PORT (1883), MQTT_USERNAME, MQTT_PASSWORD, MQTT_TLS_CA_FILE (turns TLS on):
used here and handed on to the models. What they are to be told instead has MODEL_ before its name, as in
MODEL_MQTT_USERNAME; a model's environment in the scenario is stronger. SIMULATOR_NAME: default of --simulator.

exit status: 0 all was as expected, 1 it was not, 2 the request makes no sense.

examples:
  python -m fake_simulator
  python -m fake_simulator --models 400 --run-seconds 30 --json
  python -m fake_simulator year --models 10 --steps 8760
  python -m fake_simulator --scenario mine.yaml --simulation sim-7 --keep-logs-hours 24
"""

DEFAULT_MODELS, DEFAULT_STEPS = 4, 8760
DEFAULT_SILENCE = 60.0
MOST = 366 * 24 * 3600
"""A year in seconds; of hours it is more than anybody means."""


@dataclass(frozen=True, slots=True)
class Options:
    """What to play, with whom, and how to tell it."""

    scenario: Scenario
    simulator: str
    credentials: Credentials
    model_credentials: Credentials
    """What the models are told."""
    silence: float
    wait_for_mso: float
    json: bool


def parse_arguments(arguments: Sequence[str], environment: Mapping[str, str]) -> Options:
    """Read both. Exits with status 2 and a message when they make no sense."""
    parser = _parser()
    parsed = parser.parse_args(arguments)
    try:
        scenario = _scenario(parsed)
        simulator = (parsed.simulator or environment.get("SIMULATOR_NAME") or "fake-so").lower()
        _check_topic_level("the simulator", simulator)
        longest = max(model.run_seconds for model in scenario.models)
        return Options(
            scenario=scenario,
            simulator=simulator,
            credentials=_credentials(environment),
            model_credentials=_credentials(environment, "MODEL_"),
            silence=DEFAULT_SILENCE + longest if parsed.timeout is None else parsed.timeout,
            wait_for_mso=parsed.wait_for_mso,
            json=parsed.json,
        )
    except (ScenarioError, OSError, ValueError) as error:
        parser.error(str(error))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m fake_simulator",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("name", nargs="?", choices=(*BUNDLED, "year"), help="which scenario to play")
    add("--scenario", type=Path, metavar="FILE", help="play the scenario in this YAML file")
    add("--models", type=_count, metavar="N", help=f"that many models, all of which succeed (year: {DEFAULT_MODELS})")
    add("--steps", type=_count, metavar="M", help=f"of year: how many steps to play ({DEFAULT_STEPS})")
    add("--run-seconds", type=_seconds, metavar="S", help="RUN_SECONDS of every model")
    add("--image", metavar="NAME", help="what every model is made of, as in a registry of your own")
    add("--simulation", metavar="ID", help="play it under this simulation id")
    add("--simulator", metavar="NAME", help="topic name of this orchestrator (fake-so)")
    add("--protocol-version", type=int, choices=(1, 2), help="speak this version (2, or what the file says)")
    add("--keep-logs-hours", type=_hours, metavar="H", help="ask for the logs to be kept so long after the end")
    add(
        "--timeout",
        type=_seconds,
        metavar="S",
        help=f"give up after so much silence ({DEFAULT_SILENCE:g} + RUN_SECONDS)",
    )
    add("--wait-for-mso", type=_seconds, metavar="S", default=10.0, help="wait so long for an MSO to be online (10)")
    add("--json", action="store_true", help="one JSON object a line: each message as it comes, at last a summary")
    return parser


def _scenario(parsed: argparse.Namespace) -> Scenario:
    if parsed.scenario and (parsed.name or parsed.models):
        raise ValueError("--scenario says itself which models there are")
    if parsed.name == "year":
        if parsed.run_seconds is not None:
            raise ValueError("the models of a year work until it is done: no --run-seconds")
        scenario = year(parsed.models or DEFAULT_MODELS, parsed.steps or DEFAULT_STEPS)
    elif parsed.steps:
        raise ValueError("--steps belongs to year")
    elif parsed.scenario:
        scenario = _from_file(parsed.scenario)
    elif parsed.models:
        if parsed.name == "endings":
            raise ValueError("endings says itself which models there are")
        scenario = succeeding(parsed.models)
    else:
        scenario = bundled(parsed.name or "quickstart")
    return _changed(scenario, parsed)


def _from_file(path: Path) -> Scenario:
    try:
        return parse(path.read_text(encoding="utf-8"))
    except ScenarioError as error:
        raise ScenarioError(f"{path} is no scenario:\n{error}") from error


def _changed(scenario: Scenario, parsed: argparse.Namespace) -> Scenario:
    if parsed.run_seconds is not None:
        scenario = scenario.with_run_seconds(parsed.run_seconds)
    if parsed.image is not None:
        scenario = scenario.with_image(parsed.image)
    if parsed.simulation is not None:
        _check_topic_level("--simulation", parsed.simulation)
        scenario = replace(scenario, simulation=parsed.simulation)
    if parsed.protocol_version is not None:
        scenario = replace(scenario, protocol_version=parsed.protocol_version)
    if parsed.keep_logs_hours is not None:
        scenario = replace(scenario, keep_logs_hours=parsed.keep_logs_hours)
    problems = list(scenario.problems())
    if problems:
        raise ScenarioError("\n".join(problems))
    return scenario


def _credentials(environment: Mapping[str, str], prefix: str = "") -> Credentials:
    """Of each variable the one with the prefix, else the one without."""

    def value(name: str) -> str:
        return environment.get(prefix + name) or environment.get(name, "")

    port = value("MQTT_PORT") or "1883"
    if not port.isdecimal() or not 1 <= int(port) <= 65535:
        raise ValueError(f"MQTT_PORT must be a whole number from 1 to 65535, is {port!r}")
    return Credentials(
        host=value("MQTT_HOST") or "localhost",
        port=int(port),
        username=value("MQTT_USERNAME"),
        password=value("MQTT_PASSWORD"),
        tls_ca_file=value("MQTT_TLS_CA_FILE"),
    )


def _check_topic_level(what: str, text: str) -> None:
    if not text or any(character in text for character in "/+#\0"):
        raise ValueError(f"{what} may not be empty nor contain '/', '+' or '#', is {text!r}")


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number, at least 1, is {text!r}")
    return int(text)


def _hours(text: str) -> float:
    return _number(text, "hours")


def _seconds(text: str) -> float:
    return _number(text, "seconds")


def _number(text: str, unit: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1
    if not 0 <= number <= MOST:
        raise argparse.ArgumentTypeError(f"must be a number of {unit}, is {text!r}")
    return number
