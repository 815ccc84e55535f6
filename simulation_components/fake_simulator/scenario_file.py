"""A scenario from YAML: one pass that finds all that is wrong with it, each with its line and field. Pure.

The format, with every field, is shown by scenarios/endings.yaml.
"""

import difflib
import math
from collections.abc import Callable, Sequence
from importlib import resources
from typing import TypeVar

import yaml

from fake_simulator.scenario import (
    REASONS,
    Expectation,
    FailurePolicy,
    Scenario,
    ScenarioError,
    ScenarioModel,
    State,
)

BUNDLED = ("quickstart", "endings")
"""The scenarios that come with the package, by name."""

Fields = dict[str, yaml.Node]
T = TypeVar("T")
D = TypeVar("D")


def bundled(name: str) -> Scenario:
    """One of the scenarios that come with the package."""
    return parse((resources.files("fake_simulator") / "scenarios" / f"{name}.yaml").read_text(encoding="utf-8"))


def parse(text: str) -> Scenario:
    """Read a scenario. Raises ScenarioError with one line for each thing that is wrong."""
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
    except yaml.YAMLError as error:
        raise ScenarioError(f"this is not YAML: {error}") from error
    if node is None:
        raise ScenarioError("the file is empty")
    reader = _Reader(loader)
    scenario = reader.scenario(node)
    if reader.problems:
        raise ScenarioError("\n".join(reader.problems))
    return scenario


class _Reader:
    """Reads node after node and collects what is wrong; in its place it goes on with some value of the type."""

    def __init__(self, loader: yaml.SafeLoader) -> None:
        self.problems: list[str] = []
        self._loader = loader

    # The format.

    def scenario(self, node: yaml.Node) -> Scenario:
        fields = self._mapping(
            node,
            "",
            ("simulation", "models", "protocolVersion", "keepLogsHours", "failurePolicy", "steps", "expect"),
            required=("simulation", "models"),
        )
        expect = self._optional(fields, "expect", self._simulation_expectation, (None, False))
        scenario = Scenario(
            simulation=self._optional(fields, "simulation", self._topic_level, ""),
            models=self._optional(fields, "models", self._models, ()),
            protocol_version=self._optional(fields, "protocolVersion", self._protocol_version, 2),
            keep_logs_hours=self._optional(fields, "keepLogsHours", self._number, 0.0),
            failure_policy=self._optional(fields, "failurePolicy", self._failure_policy, FailurePolicy.KEEP_OTHERS),
            steps=self._optional(fields, "steps", self._count, 0),
            models_ready=expect[0],
            rejected=expect[1],
        )
        self.problems += scenario.problems()
        return scenario

    def _simulation_expectation(self, node: yaml.Node, path: str) -> tuple[bool | None, bool]:
        fields = self._mapping(node, path, ("modelsReady", "rejected"))
        return (
            self._optional(fields, "modelsReady", self._boolean, None, path),
            self._optional(fields, "rejected", self._boolean, False, path),
        )

    def _models(self, node: yaml.Node, path: str) -> tuple[ScenarioModel, ...]:
        if not isinstance(node, yaml.SequenceNode):
            self._wrong(node, path, "must be a list of models")
            return ()
        if not node.value:
            self._wrong(node, path, "must have at least one model")
        models = tuple(self._model(item, f"{path}[{index}]") for index, item in enumerate(node.value))
        for index, model in enumerate(models):
            if model.id and model.id in (other.id for other in models[:index]):
                self._wrong(node.value[index], f"{path}[{index}].id", f"{model.id!r} is taken by a model above")
        return models

    def _model(self, node: yaml.Node, path: str) -> ScenarioModel:
        fields = self._mapping(
            node,
            path,
            ("id", "image", "environment", "expect", "readyTimeoutSeconds", "maxRuntimeSeconds", "retries"),
            required=("id", "image"),
        )
        return ScenarioModel(
            id=self._optional(fields, "id", self._topic_level, "", path),
            image=self._optional(fields, "image", self._text, "", path),
            environment=self._optional(fields, "environment", self._environment, (), path),
            expect=self._optional(fields, "expect", self._expectation, Expectation(exit_code=0), path),
            ready_timeout_seconds=self._optional(fields, "readyTimeoutSeconds", self._number, 0.0, path),
            max_runtime_seconds=self._optional(fields, "maxRuntimeSeconds", self._number, 0.0, path),
            retries=self._optional(fields, "retries", self._count, 0, path),
        )

    def _environment(self, node: yaml.Node, path: str) -> tuple[tuple[str, str], ...]:
        variables = []
        for name, value in self._mapping(node, path).items():
            if isinstance(value, yaml.ScalarNode):
                # As it is written: `READY: no` means the word, not what YAML makes of it.
                variables.append((name, value.value))
            else:
                self._wrong(value, f"{path}.{name}", "must be a text or a number")
        return tuple(variables)

    def _expectation(self, node: yaml.Node, path: str) -> Expectation:
        fields = self._mapping(node, path, ("state", "exitCode", "reason", "ready", "logContains"))
        state = self._optional(fields, "state", self._state, State.SUCCEEDED, path)
        succeeds = state is State.SUCCEEDED
        expectation = Expectation(
            state=state,
            exit_code=self._optional(fields, "exitCode", self._whole, 0 if succeeds else None, path),
            reason=self._optional(fields, "reason", self._reason, None, path),
            ready=self._optional(fields, "ready", self._boolean, None, path),
            log_contains=self._optional(fields, "logContains", self._text, None, path),
        )
        if succeeds and expectation.exit_code != 0:
            self._wrong(fields["exitCode"], f"{path}.exitCode", "a model that SUCCEEDED has exit code 0")
        if succeeds and expectation.log_contains is not None:
            self._wrong(fields["logContains"], f"{path}.logContains", "only a model that FAILED hands over log lines")
        return expectation

    # Kinds of values.

    def _topic_level(self, node: yaml.Node, path: str) -> str:
        text = self._text(node, path)
        if any(character in text for character in "/+#\0"):
            self._wrong(node, path, "may not contain '/', '+', '#' or NUL: it becomes part of a topic")
        return text

    def _text(self, node: yaml.Node, path: str) -> str:
        if isinstance(node, yaml.ScalarNode) and node.value:
            return str(node.value)
        self._wrong(node, path, "must be a text")
        return ""

    def _number(self, node: yaml.Node, path: str) -> float:
        value = self._scalar(node)
        if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0 and math.isfinite(value):
            return float(value)
        self._wrong(node, path, "must be a number, not below 0")
        return 0.0

    def _whole(self, node: yaml.Node, path: str) -> int:
        return self._whole_from(node, path, -math.inf, math.inf, "a whole number")

    def _count(self, node: yaml.Node, path: str) -> int:
        return self._whole_from(node, path, 0, math.inf, "a whole number, not below 0")

    def _protocol_version(self, node: yaml.Node, path: str) -> int:
        return self._whole_from(node, path, 1, 2, "1 or 2")

    def _whole_from(self, node: yaml.Node, path: str, least: float, most: float, description: str) -> int:
        value = self._scalar(node)
        if isinstance(value, int) and not isinstance(value, bool) and least <= value <= most:
            return value
        self._wrong(node, path, f"must be {description}")
        return 0

    def _boolean(self, node: yaml.Node, path: str) -> bool:
        value = self._scalar(node)
        if isinstance(value, bool):
            return value
        self._wrong(node, path, "must be true or false")
        return False

    def _reason(self, node: yaml.Node, path: str) -> str:
        return self._word(node, path, REASONS)

    def _state(self, node: yaml.Node, path: str) -> State:
        return State(self._word(node, path, tuple(State)))

    def _failure_policy(self, node: yaml.Node, path: str) -> FailurePolicy:
        return FailurePolicy(self._word(node, path, tuple(FailurePolicy)))

    # What they are made of.

    def _word(self, node: yaml.Node, path: str, words: Sequence[str]) -> str:
        word = str(node.value) if isinstance(node, yaml.ScalarNode) else ""
        if word in words:
            return word
        self._wrong(node, path, f"must be one of {', '.join(words)}{_nearest(word, words)}")
        return words[0]

    def _optional(
        self, fields: Fields, name: str, read: Callable[[yaml.Node, str], T], default: D, path: str = ""
    ) -> T | D:
        return read(fields[name], _join(path, name)) if name in fields else default

    def _mapping(
        self, node: yaml.Node, path: str, known: Sequence[str] | None = None, required: Sequence[str] = ()
    ) -> Fields:
        if not isinstance(node, yaml.MappingNode):
            self._wrong(node, path, f"must be a mapping of {', '.join(known) if known else 'names to values'}")
            return {}
        fields: Fields = {}
        for key, value in node.value:
            name = str(key.value) if isinstance(key, yaml.ScalarNode) else ""
            if known is not None and name not in known:
                self._wrong(key, _join(path, name), f"is no field here{_nearest(name, known)}")
            elif name in fields:
                self._wrong(key, _join(path, name), "is given twice")
            else:
                fields[name] = value
        for name in required:
            if name not in fields:
                self._wrong(node, _join(path, name), "is missing")
        return fields

    def _scalar(self, node: yaml.Node) -> object:
        if not isinstance(node, yaml.ScalarNode):
            return None
        try:
            value: object = self._loader.construct_object(node)
        except (yaml.YAMLError, ValueError):  # a tag that nobody knows, a date that is none
            return None
        return value

    def _wrong(self, node: yaml.Node, path: str, problem: str) -> None:
        value = f", is {node.value!r}" if isinstance(node, yaml.ScalarNode) and problem.startswith("must") else ""
        self.problems.append(f"line {node.start_mark.line + 1}: {path or 'the scenario'}: {problem}{value}")


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _nearest(word: str, words: Sequence[str]) -> str:
    matches = difflib.get_close_matches(word, words, n=1)
    return f" (did you mean {matches[0]}?)" if matches else ""
