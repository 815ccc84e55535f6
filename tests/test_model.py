"""The nouns and the machine."""

import pytest

from mso.model import (
    TRANSITIONS,
    Attempt,
    EnvironmentVariable,
    Event,
    Failed,
    ModelId,
    ModelKey,
    ModelSpec,
    Ready,
    Retry,
    RunKey,
    SimulationId,
    State,
    Succeeded,
)

ABSORBED = None


@pytest.mark.parametrize(
    ("state", "event", "after"),
    (
        (State.CREATED, Ready, State.RUNNING),
        (State.CREATED, Succeeded, State.SUCCEEDED),
        (State.CREATED, Failed, State.FAILED),
        (State.CREATED, Retry, State.CREATED),
        (State.RUNNING, Ready, ABSORBED),
        (State.RUNNING, Succeeded, State.SUCCEEDED),
        (State.RUNNING, Failed, State.FAILED),
        (State.RUNNING, Retry, State.CREATED),
        (State.SUCCEEDED, Ready, ABSORBED),
        (State.SUCCEEDED, Succeeded, ABSORBED),
        (State.SUCCEEDED, Failed, ABSORBED),
        (State.SUCCEEDED, Retry, ABSORBED),
        (State.FAILED, Ready, ABSORBED),
        (State.FAILED, Succeeded, ABSORBED),
        (State.FAILED, Failed, ABSORBED),
        (State.FAILED, Retry, ABSORBED),
    ),
)
def test_every_cell_of_the_machine(state: State, event: type[Event], after: State | None) -> None:
    """Each event in each state leads where the design says, or is absorbed."""
    assert TRANSITIONS[state].get(event) is after


def test_the_machine_has_no_other_cells() -> None:
    """No state and no event is in the table but those of the design."""
    assert set(TRANSITIONS) == set(State)
    assert {event for row in TRANSITIONS.values() for event in row} <= {Ready, Succeeded, Failed, Retry}


@pytest.mark.parametrize("state", State)
def test_terminal_states_are_those_that_nothing_leads_out_of(state: State) -> None:
    """A state is terminal exactly where the table absorbs everything."""
    assert state.terminal == (not TRANSITIONS[state])


def test_the_value_of_a_variable_is_never_shown() -> None:
    """However deep it sits in what is printed, a secret does not come out."""
    variable = EnvironmentVariable("MQTT_PASSWORD", "canary-7f3a")
    assert "canary" not in repr(ModelSpec(ModelId("m"), "i", environment=(variable,)))
    assert "MQTT_PASSWORD" in repr(variable)


def test_keys_read_as_paths() -> None:
    """A log names a run, a model and an attempt the way one reads them."""
    key = ModelKey(SimulationId("sim"), 2, ModelId("m"))
    assert str(RunKey(SimulationId("sim"), 2)) == "sim/2" == str(key.run_key)
    assert str(key) == "sim/2/m"
    assert str(Attempt(key, 3)) == "sim/2/m#3"
