"""What a newcomer does first."""

import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

COMMAND = [sys.executable, "-m", "mso", "demo"]


def demo(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=100, check=False)


def test_four_models_two_of_which_crash() -> None:
    """The log tells the story, the account lists what the orchestrator heard, and the exit status is its verdict."""
    told = demo()
    assert told.returncode == 0, told.stderr
    for event in (
        "simulation.added",
        "model.deployed",
        "model.state_changed",
        "model.failed",
        "termination.sent",
        "simulation.ended",
        "model.removed",
    ):
        assert event in told.stderr
    account = told.stdout[told.stdout.index("received, in order") :]
    order = [
        account.index(text) for text in ("fake_model_1  FAILED", "fake_model_2  FAILED", "fake_model_0  SUCCEEDED")
    ]
    assert order == sorted(order)
    assert account.count("CalculationError") >= 2
    assert "MQTT_PASSWORD: ****" in account


def test_the_last_line_is_one_json_object() -> None:
    """--json: state, exitCode and reason by model, and the messages in order."""
    told = demo("--json")
    assert told.returncode == 0, told.stderr
    said = json.loads(told.stdout.splitlines()[-1])
    ends = {model: (end["state"], end["exitCode"], end["reason"]) for model, end in said["models"].items()}
    assert ends == {
        "fake_model_0": ("SUCCEEDED", 0, "Completed"),
        "fake_model_1": ("FAILED", 1, "Error"),
        "fake_model_2": ("FAILED", 2, "Error"),
        "fake_model_3": ("SUCCEEDED", 0, "Completed"),
    }
    assert [message["message"] for message in said["received"]] == [
        *["ModelHasTerminated"] * 4,
        "AllModelsHaveTerminated",
    ]


def test_so_many_models_that_all_succeed() -> None:
    """--models and --run-seconds: ModelsReady comes first."""
    told = demo("--models", "3", "--run-seconds", "0.5", "--json")
    assert told.returncode == 0, told.stderr
    received = json.loads(told.stdout.splitlines()[-1])["received"]
    assert received[0]["message"] == "ModelsReady"
    assert "simulation.ready" in told.stderr


def test_what_is_not_as_the_scenario_expects_is_said_and_fails(tmp_path: Path) -> None:
    """A scenario that expects something else than what happens ends with status 1 and the difference."""
    scenario = tmp_path / "scenario.yaml"
    scenario.write_text(
        "simulation: sim-x\nmodels:\n  - id: m\n    image: fake_model:0.0.1\n"
        "    environment: {RUN_SECONDS: 0.2, EXIT_CODE: 4}\n    expect: {state: SUCCEEDED}\n"
    )
    told = demo("--scenario", str(scenario))
    assert told.returncode == 1
    assert "not as expected: m: FAILED, expected SUCCEEDED" in told.stdout


@pytest.mark.parametrize(
    "arguments", (("--models", "none"), ("--models", "2", "--scenario", "x"), ("--scenario", "none.yaml"))
)
def test_a_wrong_use_is_refused_at_once(arguments: tuple[str, ...]) -> None:
    """A mistake in the command line costs no second and ends with status 2."""
    told = demo(*arguments)
    assert told.returncode == 2
    assert "Traceback" not in told.stderr


def test_an_id_that_the_broker_of_the_demo_does_not_take_is_refused_at_once(tmp_path: Path) -> None:
    """It would hang up on whoever says it (docs/decisions/0001-embedded-broker.md)."""
    scenario = tmp_path / "scenario.yaml"
    scenario.write_text("simulation: sim one\nmodels:\n  - {id: m, image: 'fake_model:0.0.1'}\n")
    told = demo("--scenario", str(scenario))
    assert told.returncode == 2
    assert "'sim one'" in told.stderr


def descendants(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def wait_for_models(process: subprocess.Popen[bytes], count: int) -> list[psutil.Process]:
    deadline = time.monotonic() + 30
    while True:
        family = descendants(process)
        models = [child for child in family if "fake_model" in " ".join(child.cmdline() if child.is_running() else ())]
        if len(models) >= count:
            return family
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("number", (signal.SIGINT, signal.SIGTERM))
def test_an_interrupted_demo_leaves_nothing_behind(number: signal.Signals) -> None:
    """Ctrl-C: the models are stopped, the broker is gone, no process and no folder stays."""
    process = subprocess.Popen(
        [*COMMAND, "--models", "3", "--run-seconds", "100"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    family = wait_for_models(process, 3)
    process.send_signal(number)
    _, log = process.communicate(timeout=60)
    assert process.returncode != 0
    assert b"Traceback" not in log
    _, alive = psutil.wait_procs(family, timeout=10)
    assert not alive


def test_the_broker_of_a_killed_demo_is_gone_with_it() -> None:
    """kill -9: nobody is left to stop the broker, and it stops."""
    process = subprocess.Popen(
        [*COMMAND, "--models", "1", "--run-seconds", "3"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    family = wait_for_models(process, 1)
    brokers = [child for child in family if "nats-server" in child.name()]
    assert brokers
    process.kill()
    process.wait()
    _, alive = psutil.wait_procs(brokers, timeout=30)
    assert not alive
    for child in family:  # the orchestrator waits for a broker that may come back
        if child.is_running():
            child.kill()


def test_on_a_terminal_there_is_a_table_of_the_models() -> None:
    """State, since, exit code and reason of each model stand below the log, and are final at the end."""
    primary, secondary = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "120", "LINES": "40"}
    process = subprocess.Popen(COMMAND, stdin=secondary, stdout=secondary, stderr=secondary, env=environment)
    os.close(secondary)
    screen = b""
    while True:
        try:
            piece = os.read(primary, 65536)
        except OSError:  # how a pseudo-terminal says that its other end is closed
            break
        if not piece:
            break
        screen += piece
    os.close(primary)
    assert process.wait(30) == 0
    text = screen.decode(errors="replace")
    for column in ("model", "state", "since", "exit code", "reason"):
        assert column in text
    assert "simulation.added" in text
    assert "Completed" in text
