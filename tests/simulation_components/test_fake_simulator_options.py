"""The command line of the fake simulator."""

from pathlib import Path

import pytest
from fake_simulator.options import Options, parse_arguments
from fake_simulator.scenario import State, succeeding, year
from fake_simulator.scenario_file import bundled
from fake_simulator.wire import Credentials

FILE = "simulation: sim\nmodels: [{id: m, image: i, retries: 1}]\n"


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "scenario.yaml"
    path.write_text(FILE)
    return str(path)


def options(*arguments: str, **environment: str) -> Options:
    return parse_arguments(arguments, environment)


def test_defaults() -> None:
    """Without a word it plays the quickstart, with the broker on this machine, as fake-so."""
    given = options()
    assert given.scenario == bundled("quickstart")
    assert (given.simulator, given.credentials.host, given.credentials.port) == ("fake-so", "localhost", 1883)


def test_environment() -> None:
    """The broker comes from the environment, and so does the orchestrator's name unless the command line has one."""
    given = options(MQTT_HOST="mosquitto", MQTT_PORT="1884", MQTT_USERNAME="u", MQTT_PASSWORD="p", SIMULATOR_NAME="A")
    assert (given.credentials.host, given.credentials.port) == ("mosquitto", 1884)
    assert (given.credentials.username, given.credentials.password) == ("u", "p")
    assert given.simulator == "a"
    assert options("--simulator", "B", SIMULATOR_NAME="A").simulator == "b"


def test_models_may_be_told_something_else() -> None:
    """Models use the credentials of the orchestrator, but for what the environment says of them."""
    own = {"MQTT_HOST": "h", "MQTT_PORT": "1", "MQTT_USERNAME": "u", "MQTT_PASSWORD": "p", "MQTT_TLS_CA_FILE": "ca.pem"}
    assert options(**own).model_credentials == options(**own).credentials == Credentials("h", 1, "u", "p", "ca.pem")
    given = options(**own, **{f"MODEL_{name}": f"1{value}" for name, value in own.items()})
    assert given.credentials == Credentials("h", 1, "u", "p", "ca.pem")
    assert given.model_credentials == Credentials("1h", 11, "1u", "1p", "1ca.pem")


def test_models() -> None:
    """--models asks for that many models, each of which succeeds; a year is played with that many, step by step."""
    given = options("--models", "3").scenario
    assert given == succeeding(3)
    assert [model.expect.state for model in given.models] == [State.SUCCEEDED] * 3
    assert options("year", "--models", "3", "--steps", "5").scenario == year(3, 5)


def test_changes(file: str) -> None:
    """What the command line says is stronger than what the file says."""
    arguments = ("--simulation", "other", "--keep-logs-hours", "2", "--run-seconds", "1.5")
    scenario = options("--scenario", file, *arguments).scenario
    assert (scenario.simulation, scenario.keep_logs_hours) == ("other", 2)
    assert dict(scenario.models[0].environment) == {"RUN_SECONDS": "1.5"}


def test_silence_allows_for_the_work() -> None:
    """Models that are told to work for long may be silent for as long, unless --timeout says otherwise."""
    assert options("--models", "1", "--run-seconds", "1000").silence == 1060
    assert options("--models", "1", "--run-seconds", "1000", "--timeout", "5").silence == 5
    assert options("year").silence == 60


@pytest.mark.parametrize(
    ("arguments", "problem"),
    (
        (("fortnight",), "invalid choice: 'fortnight'"),
        (("--models", "0"), "must be a whole number, at least 1"),
        (("--models", "x"), "must be a whole number, at least 1"),
        (("--run-seconds", "-1"), "must be a number of seconds"),
        (("--timeout", "nan"), "must be a number of seconds"),
        (("--steps", "4"), "--steps belongs to year"),
        (("year", "--run-seconds", "4"), "no --run-seconds"),
        (("endings", "--models", "4"), "endings says itself which models there are"),
        (("endings", "--scenario", "x.yaml"), "--scenario says itself which models there are"),
        (("endings", "--protocol-version", "1"), "readyTimeoutSeconds of hangs_before_it_is_ready needs"),
        (("--scenario", "/no/such/file"), "No such file"),
        (("--simulation", "a/b"), "--simulation may not be empty nor contain"),
        (("--simulator", "#"), "the simulator may not be empty nor contain"),
        (("--keep-logs-hours", "long"), "must be a number of hours"),
        (("--keep-logs-hours", "nan"), "must be a number of hours"),
        (("--keep-logs-hours", "-1"), "must be a number of hours"),
    ),
)
def test_mistakes(arguments: tuple[str, ...], problem: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A request that makes no sense is refused with a message and exit status 2."""
    with pytest.raises(SystemExit) as error:
        options(*arguments)
    assert error.value.code == 2
    assert problem in capsys.readouterr().err


def test_mistakes_in_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that is no scenario is named, with all that is wrong with it."""
    path = tmp_path / "wrong.yaml"
    path.write_text("simulation: a/b\nmodels: []\n")
    with pytest.raises(SystemExit) as error:
        options("--scenario", str(path))
    assert error.value.code == 2
    complaint = capsys.readouterr().err
    assert f"{path} is no scenario:\n" in complaint
    assert "line 1: simulation: " in complaint
    assert "line 2: models: " in complaint


def test_a_port_that_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    """MQTT_PORT has to be a port."""
    with pytest.raises(SystemExit):
        options(MQTT_PORT="many")
    assert "MQTT_PORT must be" in capsys.readouterr().err


def test_image(file: str) -> None:
    """Any scenario can be played with images from elsewhere."""
    image = "registry.example.org/energy/fake_model:7"
    for arguments in ((), ("endings",), ("year", "--steps", "2"), ("--scenario", file)):
        given = options(*arguments, "--image", image)
        assert {model.image for model in given.scenario.models} == {image}
