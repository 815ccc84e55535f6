"""The story for a program: one JSON object a line, each with its `type`; the last one is the summary.

`asked`, `waiting-for-mso`, `mso-status`; `received` (from MSO) and `overheard` (ReadyForProcessing), as they come;
`stepped` each tenth of the steps; `summary`.
"""

import json
from dataclasses import asdict
from typing import Any

from fake_simulator.play import Outcome, is_tenth
from fake_simulator.scenario import Scenario
from fake_simulator.wire import Announced, MsoStatus, Received, Termination


class JsonNarrator:
    """Prints to stdout, each line at once."""

    def waiting_for_mso(self, seconds: float) -> None:
        _say("waiting-for-mso", seconds=seconds)

    def asking(self, scenario: Scenario, topic: str) -> None:
        _say("asked", topic=topic, models=scenario.model_ids)

    def heard(self, message: Received | Announced | MsoStatus) -> None:
        match message:
            case Received():
                _say("received", **as_json(message))
            case Announced(model):
                _say("overheard", message="ReadyForProcessing", model=model)
            case MsoStatus(online):
                _say("mso-status", online=online)

    def stepped(self, done: int, steps: int) -> None:
        if is_tenth(done, steps):
            _say("stepped", done=done, steps=steps)

    def finished(self, outcome: Outcome) -> None:
        _say("summary", **summary(outcome))


def summary(outcome: Outcome) -> dict[str, Any]:
    """What came of it. `models` holds the first ModelHasTerminated of each model; null where none came."""
    ends: dict[str, Termination] = {}
    for message in outcome.received:
        if message.termination:
            ends.setdefault(message.model, message.termination)
    return {
        "succeeded": not outcome.differences,
        "simulator": outcome.simulator,
        "simulation": outcome.scenario.simulation,
        "protocolVersion": outcome.scenario.protocol_version,
        "models": {
            model: {
                "state": ends[model].state if model in ends else None,
                "exitCode": ends[model].exit_code if model in ends else None,
                "reason": (ends[model].reason or None) if model in ends else None,
                "ready": model in outcome.announced,
            }
            for model in outcome.scenario.model_ids
        },
        "received": [as_json(message) for message in outcome.received],
        "differences": outcome.differences,
        "stepsPerSecond": outcome.steps_per_second,
    }


def as_json(message: Received) -> dict[str, Any]:
    """One message; what it does not say is left out."""
    fields: dict[str, Any] = {
        "message": message.name,
        "model": message.model,
        "text": message.text,
        "problem": message.problem,
        "retained": message.retained,
    }
    said = {name: value for name, value in fields.items() if value}
    said["after"] = round(message.after, 3)
    if message.termination:
        for name, value in asdict(message.termination).items():
            if name != "version_2_fields" and (value or name == "exit_code"):
                said["explanation" if name == "message" else _camel_case(name)] = value
    return said


def _camel_case(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def _say(type_: str, **fields: Any) -> None:
    print(json.dumps({"type": type_, **fields}), flush=True)
