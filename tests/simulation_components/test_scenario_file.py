"""Scenarios from YAML: what the format means, and that whatever is wrong is said with its line and field."""

import pytest
from fake_simulator.scenario import Expectation, FailurePolicy, Scenario, ScenarioError, ScenarioModel, State
from fake_simulator.scenario_file import BUNDLED, bundled, parse

MINIMAL = "simulation: sim\nmodels: [{id: m, image: fake_model:0.0.1}]\n"


def problems(text: str) -> list[str]:
    with pytest.raises(ScenarioError) as error:
        parse(text)
    return str(error.value).splitlines()


def test_minimal() -> None:
    """Without a word about it a model succeeds with exit code 0, the protocol is version 2, and no logs are kept."""
    assert parse(MINIMAL) == Scenario(
        simulation="sim",
        models=(ScenarioModel("m", "fake_model:0.0.1", expect=Expectation(State.SUCCEEDED, exit_code=0)),),
        protocol_version=2,
        keep_logs_hours=0,
    )


def test_every_field() -> None:
    """Every field of the format arrives where it belongs."""
    scenario = parse("""
simulation: sim
protocolVersion: 2
keepLogsHours: 1.5
failurePolicy: STOP_ALL
steps: 10
models:
  - id: m
    image: fake_model:0.0.1
    environment: {READY: no, RUN_SECONDS: 007, EMPTY: ""}
    readyTimeoutSeconds: 2
    maxRuntimeSeconds: 3.5
    retries: 1
    expect: {state: FAILED, exitCode: -1, reason: ReadyTimeout, ready: false, logContains: oops}
expect: {modelsReady: true, rejected: false}
""")
    assert scenario == Scenario(
        simulation="sim",
        protocol_version=2,
        keep_logs_hours=1.5,
        failure_policy=FailurePolicy.STOP_ALL,
        steps=10,
        models=(
            ScenarioModel(
                id="m",
                image="fake_model:0.0.1",
                environment=(("READY", "no"), ("RUN_SECONDS", "007"), ("EMPTY", "")),
                ready_timeout_seconds=2,
                max_runtime_seconds=3.5,
                retries=1,
                expect=Expectation(State.FAILED, -1, "ReadyTimeout", ready=False, log_contains="oops"),
            ),
        ),
        models_ready=True,
        rejected=False,
    )


def test_exit_code_of_a_failure_is_free() -> None:
    """A model that is only said to fail may do so with any exit code."""
    scenario = parse("simulation: sim\nmodels: [{id: m, image: i, expect: {state: FAILED}}]\n")
    assert scenario.models[0].expect.exit_code is None


@pytest.mark.parametrize("name", BUNDLED)
def test_bundled_scenarios(name: str) -> None:
    """The scenarios that come with the package can be played in version 2."""
    assert list(bundled(name).problems()) == []


def test_the_quickstart() -> None:
    """The quickstart is sim02-abc with four fake models, of which 1 crashes before it is ready and 2 after."""
    scenario = bundled("quickstart")
    assert scenario.simulation == "sim02-abc"
    assert scenario.models_ready is False
    assert [
        (model.id, model.image, model.expect.state, model.expect.exit_code, model.expect.ready)
        for model in scenario.models
    ] == [
        ("fake_model_0", "fake_model:0.0.1", State.SUCCEEDED, 0, True),
        ("fake_model_1", "fake_model:0.0.1", State.FAILED, 1, False),
        ("fake_model_2", "fake_model:0.0.1", State.FAILED, 2, True),
        ("fake_model_3", "fake_model:0.0.1", State.SUCCEEDED, 0, True),
    ]


@pytest.mark.parametrize(
    ("wrong", "problem"),
    (
        ("simulation: a/b", "line 1: simulation: may not contain '/', '+', '#' or NUL: it becomes part of a topic"),
        ("simulation: [a]", "line 1: simulation: must be a text"),
        ("protocolVersion: 3", "line 3: protocolVersion: must be 1 or 2, is '3'"),
        ("protocolVersion: two", "line 3: protocolVersion: must be 1 or 2, is 'two'"),
        ("keepLogsHours: -1", "line 3: keepLogsHours: must be a number, not below 0, is '-1'"),
        ("keepLogsHours: .nan", "line 3: keepLogsHours: must be a number, not below 0, is '.nan'"),
        ("keepLogsHours: true", "line 3: keepLogsHours: must be a number, not below 0, is 'true'"),
        ("steps: 1.5", "line 3: steps: must be a whole number, not below 0, is '1.5'"),
        ("steps: -1", "line 3: steps: must be a whole number, not below 0, is '-1'"),
        (
            "failurePolicy: STOPALL",
            "line 3: failurePolicy: must be one of KEEP_OTHERS, STOP_ALL (did you mean STOP_ALL?), is 'STOPALL'",
        ),
        ("expect: {modelsReady: perhaps}", "line 3: expect.modelsReady: must be true or false, is 'perhaps'"),
        ("expect: {modelReady: true}", "line 3: expect.modelReady: is no field here (did you mean modelsReady?)"),
        ("expect: []", "line 3: expect: must be a mapping of modelsReady, rejected"),
        ("keepLogHours: 1", "line 3: keepLogHours: is no field here (did you mean keepLogsHours?)"),
        ("simulation: again", "line 3: simulation: is given twice"),
        ("models: []", "line 2: models: must have at least one model"),
        ("models: 4", "line 2: models: must be a list of models, is '4'"),
        ("models: [m]", "line 2: models[0]: must be a mapping of id, image, environment, expect"),
        ("models: [{id: m}]", "line 2: models[0].image: is missing"),
        ("models: [{image: i}]", "line 2: models[0].id: is missing"),
        ("models: [{id: m#, image: i}]", "line 2: models[0].id: may not contain"),
        ("models: [{id: m, image: i}, {id: m, image: i}]", "line 2: models[1].id: 'm' is taken by a model above"),
        ("models: [{id: m, image: i, retries: x}]", "line 2: models[0].retries: must be a whole number, not below 0"),
        ("models: [{id: m, image: i, environment: {A: [1]}}]", "line 2: models[0].environment.A: must be a text"),
        ("models: [{id: m, image: i, environment: A=1}]", "line 2: models[0].environment: must be a mapping of names"),
        ("models: [{id: m, image: i, expect: {state: OK}}]", "line 2: models[0].expect.state: must be one of"),
        ("models: [{id: m, image: i, expect: {exitCode: 1}}]", "line 2: models[0].expect.exitCode: a model that"),
        ("models: [{id: m, image: i, expect: {logContains: x}}]", "line 2: models[0].expect.logContains: only a"),
        (
            "models: [{id: m, image: i, expect: {state: FAILED, reason: OOM}}]",
            "line 2: models[0].expect.reason: must be one of Completed",
        ),
        ("models: [{id: m, image: i, expect: {ready: 1}}]", "line 2: models[0].expect.ready: must be true or false"),
    ),
)
def test_mistakes(wrong: str, problem: str) -> None:
    """Each mistake is one line that says where it is, what is wrong, and what was perhaps meant."""
    lines = MINIMAL.splitlines()
    field = wrong.partition(":")[0]
    if wrong == "simulation: again" or all(not line.startswith(f"{field}:") for line in lines):
        lines.append(wrong)
    else:
        lines = [wrong if line.startswith(f"{field}:") else line for line in lines]
    (said,) = problems("\n".join(lines))
    assert said.startswith(problem)


def test_all_mistakes_at_once() -> None:
    """Everything that is wrong is said at once, in the order of the file."""
    text = "keepLogsHours: long\nmodels:\n  - id: a/b\n    image: i\n    expect: {exitCode: one}\nstep: 1\n"
    assert [line.split(":")[1].strip() for line in problems(text)] == [
        "step",
        "simulation",
        "models[0].id",
        "models[0].expect.exitCode",
        "keepLogsHours",
    ]


@pytest.mark.parametrize(("text", "problem"), (("", "the file is empty"), ("a: [", "this is not YAML")))
def test_no_scenario_at_all(text: str, problem: str) -> None:
    """An empty file and one that is not YAML are said to be just that."""
    assert problems(text)[0].startswith(problem)


def test_version_1_lacks_what_version_2_added() -> None:
    """In version 1 there is no word for a policy, a limit or a retry: a scenario that wants one is refused by name."""
    text = (
        "simulation: sim\nprotocolVersion: 1\nfailurePolicy: STOP_ALL\n"
        "models: [{id: m, image: i, readyTimeoutSeconds: 1, maxRuntimeSeconds: 1, retries: 1}]"
    )
    assert problems(text) == [
        "failurePolicy needs protocol version 2",
        "readyTimeoutSeconds of m needs protocol version 2",
        "maxRuntimeSeconds of m needs protocol version 2",
        "retries of m needs protocol version 2",
    ]
