"""What a fake model makes of its environment."""

from typing import Any

import pytest
from fake_model.configuration import HELP, Configuration, ConfigurationError

REQUIRED = {"SIMULATION_ID": "sim", "MODEL_ID": "m", "MQTT_HOST": "localhost", "MQTT_PORT": "1883"}


def test_defaults() -> None:
    """With only the four required variables, a model is ready at once, works for 2 s and ends well."""
    assert Configuration.from_environment(REQUIRED) == Configuration(
        simulation="sim",
        model="m",
        host="localhost",
        port=1883,
        username="",
        password="",
        tls_ca_file="",
        simulator="fake-so",
        announces_ready=True,
        run_seconds=2,
        exit_code=0,
        connect_timeout=30,
    )


@pytest.mark.parametrize(
    ("name", "text", "field", "value"),
    (
        ("RUN_SECONDS", "0", "run_seconds", 0),
        ("RUN_SECONDS", "1.5", "run_seconds", 1.5),
        ("RUN_SECONDS", "until-done", "run_seconds", None),
        ("RUN_SECONDS", "", "run_seconds", 2),
        ("READY", "no", "announces_ready", False),
        ("EXIT_CODE", "255", "exit_code", 255),
        ("SIMULATOR_NAME", "ESSIM", "simulator", "essim"),
        ("CONNECT_TIMEOUT_SECONDS", "0.5", "connect_timeout", 0.5),
    ),
)
def test_steering(name: str, text: str, field: str, value: Any) -> None:
    """Each variable steers one thing; an empty value means unset; the simulator's name is lower case on the wire."""
    assert getattr(Configuration.from_environment({**REQUIRED, name: text}), field) == value


@pytest.mark.parametrize(
    ("name", "text"),
    (
        ("SIMULATION_ID", ""),
        ("SIMULATION_ID", "a/b"),
        ("MODEL_ID", "a+"),
        ("MQTT_HOST", ""),
        ("MQTT_PORT", "0"),
        ("MQTT_PORT", "65536"),
        ("MQTT_PORT", "1883.0"),
        ("SIMULATOR_NAME", "#"),
        ("READY", "perhaps"),
        ("RUN_SECONDS", "-1"),
        ("RUN_SECONDS", "nan"),
        ("RUN_SECONDS", "inf"),
        ("RUN_SECONDS", "soon"),
        ("EXIT_CODE", "-1"),
        ("EXIT_CODE", "256"),
        ("EXIT_CODE", "one"),
        ("CONNECT_TIMEOUT_SECONDS", "soon"),
    ),
)
def test_mistakes(name: str, text: str) -> None:
    """A value that cannot be meant is an error that names the variable, and no other."""
    with pytest.raises(ConfigurationError) as error:
        Configuration.from_environment({**REQUIRED, name: text})
    (line,) = str(error.value).splitlines()[1:]
    assert line.startswith(f"  {name} ")


def test_all_mistakes_at_once() -> None:
    """One error lists everything that is wrong."""
    with pytest.raises(ConfigurationError) as error:
        Configuration.from_environment({"MQTT_PORT": "x", "EXIT_CODE": "y"})
    named = [line.split()[0] for line in str(error.value).splitlines()[1:]]
    assert named == ["SIMULATION_ID", "MODEL_ID", "MQTT_HOST", "MQTT_PORT", "EXIT_CODE"]


def test_the_password_is_hidden() -> None:
    """A password is neither in what a model prints of its configuration nor in its repr."""
    configuration = Configuration.from_environment({**REQUIRED, "MQTT_PASSWORD": "hush"})
    assert "MQTT_PASSWORD: ****" in list(configuration.lines())
    assert "hush" not in "".join(configuration.lines()) + repr(configuration)


def test_help_knows_every_variable() -> None:
    """Every variable that a model prints is explained by --help."""
    for line in Configuration.from_environment(REQUIRED).lines():
        assert f"  {line.partition(':')[0]} " in HELP
