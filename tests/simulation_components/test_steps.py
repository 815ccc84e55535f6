"""The play of a simulation, step by step."""

import json

import pytest
from fake_simulator.steps import Steps

from mso.protocol.messages import lifecycle_pb2


class Stage:
    """Steps with two models, and what was sent to them."""

    def __init__(self, count: int = 2) -> None:
        self.sent: list[tuple[str, str]] = []
        self.payloads: list[bytes] = []
        self.steps = Steps(("a", "b"), count, self.send)

    def send(self, model: str, name: str, payload: bytes) -> None:
        self.sent.append((model, name))
        self.payloads.append(payload)

    def new(self) -> list[tuple[str, str]]:
        """What was sent since the last time."""
        sent, self.sent = self.sent, []
        return sent


def to_both(name: str) -> list[tuple[str, str]]:
    return [("a", name), ("b", name)]


@pytest.mark.parametrize("spelling", ("Parameterized", "Parametrized"))
def test_a_whole_simulation(spelling: str) -> None:
    """Parameters, then each step when all have done the one before, then SimulationDone; either spelling will do."""
    stage = Stage()
    stage.steps.begin()
    assert stage.new() == to_both("ModelParameters")
    assert not stage.steps.answered("a", spelling)
    assert stage.new() == []
    assert not stage.steps.answered("b", spelling)
    assert stage.new() == to_both("NewStep")
    assert not stage.steps.answered("b", "CalculationsDone")
    assert stage.steps.answered("a", "CalculationsDone")
    assert stage.new() == to_both("NewStep")
    assert stage.steps.done == 1
    stage.steps.answered("a", "CalculationsDone")
    assert stage.steps.answered("b", "CalculationsDone")
    assert stage.new() == to_both("SimulationDone")
    assert stage.steps.over
    assert stage.steps.done == 2


def test_parameters_are_json() -> None:
    """What models are told is JSON text, as in the field."""
    stage = Stage(count=8760)
    stage.steps.begin()
    message = lifecycle_pb2.ModelParameters.FromString(stage.payloads[0])
    assert json.loads(message.parameters_dict) == {"time_step_seconds": 3600, "nr_of_time_steps": 8760}


def test_a_duplicate_answer_completes_nothing() -> None:
    """A model that answers twice does not stand in for one that has not answered."""
    stage = Stage()
    stage.steps.begin()
    stage.new()
    for _ in range(2):
        stage.steps.answered("a", "Parameterized")
    assert stage.new() == []


def test_the_wrong_answer_completes_nothing() -> None:
    """An answer to something else is no answer."""
    stage = Stage()
    stage.steps.begin()
    stage.new()
    for model in ("a", "b"):
        assert not stage.steps.answered(model, "CalculationsDone")
    assert stage.new() == []


def test_a_second_beginning_is_ignored() -> None:
    """ModelsReady in mid-run does not send the parameters again."""
    stage = Stage()
    stage.steps.begin()
    stage.new()
    stage.steps.begin()
    assert stage.new() == []


def test_an_error_ends_it() -> None:
    """ErrorOccurred of one model ends the simulation for all, once, and nothing follows."""
    stage = Stage()
    stage.steps.begin()
    stage.new()
    stage.steps.answered("a", "ErrorOccurred")
    stage.steps.end()
    assert stage.new() == to_both("SimulationDone")
    stage.steps.begin()
    assert not stage.steps.answered("b", "Parameterized")
    assert stage.new() == []
    assert stage.steps.done == 0
