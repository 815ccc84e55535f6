"""The judge: a run as it must be has no differences, and every way of being wrong is noticed."""

from dataclasses import replace

import pytest
from fake_simulator.judge import judge
from fake_simulator.scenario import Expectation, Scenario, ScenarioModel, State, succeeding, year
from fake_simulator.wire import Received, Termination

READY = Received("ModelsReady")
ALL_ENDED = Received("AllModelsHaveTerminated")
REJECTED = Received("DeployModelsRejected", text="duplicate ids")
TRACEBACK = ("Traceback (most recent call last):", "CalculationError: no")


def succeeded(model: str) -> Received:
    return Received("ModelHasTerminated", model, Termination(State.SUCCEEDED, 0, "Completed"))


def failed(model: str, exit_code: int = 1, reason: str = "Error") -> Received:
    return Received("ModelHasTerminated", model, Termination(State.FAILED, exit_code, reason, last_log_lines=TRACEBACK))


TWO = succeeding(2)
A, B = TWO.model_ids
ONE_CRASHES = Scenario(
    "sim",
    (
        ScenarioModel("good", expect=Expectation(exit_code=0, ready=True)),
        ScenarioModel(
            "bad", expect=Expectation(State.FAILED, 1, "Error", ready=False, log_contains="CalculationError")
        ),
    ),
    models_ready=False,
)
CRASH = (failed("bad"), succeeded("good"), ALL_ENDED)


def test_all_is_well() -> None:
    """ModelsReady, each model once, and AllModelsHaveTerminated: nothing to complain about."""
    assert judge(TWO, (READY, succeeded(B), succeeded(A), ALL_ENDED), {A, B}) == ()


def test_a_model_may_end_before_the_last_is_ready() -> None:
    """A model that was ready and succeeded still counts as ready: ModelsReady may follow its end."""
    assert judge(TWO, (succeeded(A), READY, succeeded(B), ALL_ENDED), {A, B}) == ()


def test_expected_crash() -> None:
    """A crash that the scenario expects is no difference."""
    assert judge(ONE_CRASHES, CRASH, {"good"}) == ()


@pytest.mark.parametrize(
    ("received", "difference"),
    (
        ((), "AllModelsHaveTerminated never came, expected once"),
        ((READY, succeeded(A), ALL_ENDED), f"{B}: ModelHasTerminated never came, expected once"),
        ((READY, succeeded(A), succeeded(B)), "AllModelsHaveTerminated never came, expected once"),
        ((succeeded(A), succeeded(B), ALL_ENDED), "ModelsReady never came"),
        (
            (READY, succeeded(A), READY, succeeded(B), ALL_ENDED),
            "ModelsReady came twice, expected once at most",
        ),
        (
            (READY, succeeded(A), succeeded(B), succeeded(A), ALL_ENDED),
            f"{A}: ModelHasTerminated came twice, expected once",
        ),
        (
            (READY, succeeded(A), succeeded(B), ALL_ENDED, ALL_ENDED),
            "AllModelsHaveTerminated came twice, expected once",
        ),
        (
            (READY, succeeded(A), ALL_ENDED, succeeded(B)),
            f"{B}: ModelHasTerminated came after AllModelsHaveTerminated",
        ),
        (
            (succeeded(A), succeeded(B), READY, ALL_ENDED),
            "ModelsReady came after the last ModelHasTerminated",
        ),
        (
            (succeeded(A), succeeded(B), ALL_ENDED, READY),
            "ModelsReady came after AllModelsHaveTerminated",
        ),
        ((failed(A), READY, succeeded(B), ALL_ENDED), f"ModelsReady came after {A} had FAILED"),
        ((READY, failed(A), succeeded(B), ALL_ENDED), f"{A}: FAILED, expected SUCCEEDED"),
        ((READY, failed(A, 137), succeeded(B), ALL_ENDED), f"{A}: exit code 137, expected 0"),
        (
            (READY, failed(A, reason="OOMKilled"), succeeded(B), ALL_ENDED),
            f"{A}: reason OOMKilled, expected Completed",
        ),
        (
            (READY, failed(A, reason=""), succeeded(B), ALL_ENDED),
            f"{A}: reason none, expected Completed",
        ),
        (
            (READY, succeeded(A), succeeded(B), succeeded("stranger"), ALL_ENDED),
            "stranger: ModelHasTerminated came, and nobody asked for this model",
        ),
        (
            (READY, Received("UnhealthyModel", A, text="NOPROGRESS"), succeeded(A), succeeded(B), ALL_ENDED),
            f"{A}: UnhealthyModel came: NOPROGRESS",
        ),
        (
            (READY, Received("ErrorOccurred", A, text="oops"), succeeded(A), succeeded(B), ALL_ENDED),
            f"{A}: ErrorOccurred came: oops",
        ),
        (
            (READY, Received("Nonsense", A, problem="cannot be read"), succeeded(A), succeeded(B), ALL_ENDED),
            f"{A}: Nonsense cannot be read",
        ),
        (
            (replace(READY, retained=True), succeeded(A), succeeded(B), ALL_ENDED),
            "ModelsReady was retained",
        ),
        ((REJECTED,), "the request was rejected: duplicate ids"),
    ),
)
def test_every_way_of_being_wrong(received: tuple[Received, ...], difference: str) -> None:
    """Whatever is missing, too much, out of order or not as expected is a difference."""
    assert difference in judge(TWO, received, {A, B})


def test_one_thing_wrong_is_one_difference() -> None:
    """A message that is missing, or a request that was rejected, is said once and not in every way that it shows."""
    assert judge(TWO, (READY, succeeded(A), ALL_ENDED), {A, B}) == (
        f"{B}: ModelHasTerminated never came, expected once",
    )
    assert judge(TWO, (REJECTED,)) == ("the request was rejected: duplicate ids",)


def test_unexpected_ready() -> None:
    """ModelsReady may not come where a model never was ready."""
    assert judge(ONE_CRASHES, (READY, *CRASH), {"good"}) == ("ModelsReady came, expected never",)


def test_announcements() -> None:
    """Who had to announce ReadyForProcessing and did not, and who did and had not to, is noticed."""
    assert judge(ONE_CRASHES, CRASH, {"bad"}) == (
        "good: never announced ReadyForProcessing",
        "bad: announced ReadyForProcessing, expected never",
    )


def test_log_lines() -> None:
    """The last log lines of a failed model must hold what the scenario expects."""
    silent = replace(failed("bad"), termination=Termination(State.FAILED, 1, "Error", last_log_lines=("bye",)))
    assert judge(ONE_CRASHES, (silent, *CRASH[1:]), {"good"}) == (
        "bad: 'CalculationError' is not in its last 1 log lines",
    )


def test_error_occurred_is_allowed_for_a_failure() -> None:
    """MSO may be told to send ErrorOccurred for a model that failed: that is no difference."""
    assert judge(ONE_CRASHES, (Received("ErrorOccurred", "bad", text="oops"), *CRASH), {"good"}) == ()


def test_version_1() -> None:
    """A peer of version 1 gets no reasons and log lines, does not miss them, and must not be sent them."""
    scenario = replace(ONE_CRASHES, protocol_version=1)
    bare = Received("ModelHasTerminated", "bad", Termination(State.FAILED, 1))
    assert judge(scenario, (bare, *CRASH[1:]), {"good"}) == ()
    termination = Termination(State.FAILED, 1, "Error", version_2_fields=("reason",))
    assert judge(scenario, (replace(bare, termination=termination), *CRASH[1:]), {"good"}) == (
        "bad: fields of version 2 in version 1: reason",
    )


def test_expected_rejection() -> None:
    """Where the request has to be rejected, one DeployModelsRejected is all that may come."""
    scenario = replace(TWO, models_ready=None, rejected=True)
    assert judge(scenario, (REJECTED,)) == ()
    assert judge(scenario, ()) == ("DeployModelsRejected never came, expected once",)
    assert judge(scenario, (REJECTED, REJECTED)) == ("DeployModelsRejected came twice, expected once",)
    assert judge(scenario, (REJECTED, ALL_ENDED)) == (
        "AllModelsHaveTerminated came, although the request had to be rejected",
    )


def test_steps() -> None:
    """A play that ended before its last step is a difference, even if every model succeeded."""
    scenario = year(1, steps=10)
    received = (READY, succeeded(A), ALL_ENDED)
    assert judge(scenario, received, {A}, steps_done=10) == ()
    assert judge(scenario, received, {A}, steps_done=9) == ("9 of 10 steps were calculated",)
