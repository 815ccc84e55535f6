"""What a fake model is told: environment variables in, a Configuration or one error out. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

HELP = """\
usage: python -m fake_model

A model that calculates nothing. It connects to the broker, announces ReadyForProcessing, answers ModelParameters with
Parameterized and NewStep with CalculationsDone, and ends. It takes no arguments: environment variables steer it.

  SIMULATION_ID             required
  MODEL_ID                  required
  MQTT_HOST                 required
  MQTT_PORT                 required
  MQTT_USERNAME             none by default
  MQTT_PASSWORD             none by default; never printed
  MQTT_TLS_CA_FILE          certificate authority of the broker; turns TLS on
  SIMULATOR_NAME            topic name of the simulation orchestrator that it works for (fake-so)
  READY                     yes; no: never announces ReadyForProcessing
  RUN_SECONDS               how long it works, counted from ready (with READY=no: from the connection), or the word
                            until-done (2). SimulationDone ends it in either case.
  EXIT_CODE                 0: ends well; 1 to 255: raises an exception when its time has come, and exits with this (0)
  CONNECT_TIMEOUT_SECONDS   how long it tries to reach the broker before it gives up (30)

Other exit codes: 64 the environment is wrong, 70 the broker cannot be reached, 143 stopped by SIGTERM.

examples:
  works for 5 s and ends well:             RUN_SECONDS=5
  crashes before it is ready:              READY=no RUN_SECONDS=0 EXIT_CODE=1
  crashes after it was ready:              RUN_SECONDS=1 EXIT_CODE=2
  hangs and is never ready:                READY=no RUN_SECONDS=until-done
  takes part in a whole simulation:        RUN_SECONDS=until-done

  SIMULATION_ID=sim02-abc MODEL_ID=fake_model_0 MQTT_HOST=localhost MQTT_PORT=1883 RUN_SECONDS=5 python -m fake_model
"""

UNTIL_DONE = "until-done"
A_YEAR = 366 * 24 * 3600


class ConfigurationError(Exception):
    """The environment cannot be worked with; the message has one line for each variable that is wrong."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """How one fake model behaves, and where its broker is."""

    simulation: str
    model: str
    host: str
    port: int
    username: str
    password: str = field(repr=False)
    tls_ca_file: str
    """Empty: without TLS."""
    simulator: str
    announces_ready: bool
    run_seconds: float | None
    """None: until SimulationDone."""
    exit_code: int
    connect_timeout: float

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Configuration":
        """Read every variable; an empty value means unset. Raises ConfigurationError, once, for all that is wrong."""
        reader = _Reader(environment)
        until_done = environment.get("RUN_SECONDS") == UNTIL_DONE
        configuration = cls(
            simulation=reader.topic_level("SIMULATION_ID"),
            model=reader.topic_level("MODEL_ID"),
            host=reader.required("MQTT_HOST"),
            port=reader.whole("MQTT_PORT", 1, 65535),
            username=reader.text("MQTT_USERNAME", ""),
            password=reader.text("MQTT_PASSWORD", ""),
            tls_ca_file=reader.text("MQTT_TLS_CA_FILE", ""),
            simulator=reader.topic_level("SIMULATOR_NAME", "fake-so").lower(),
            announces_ready=reader.yes("READY", "yes"),
            run_seconds=None if until_done else reader.seconds("RUN_SECONDS", "2", f" or {UNTIL_DONE}"),
            exit_code=reader.whole("EXIT_CODE", 0, 255, "0"),
            connect_timeout=reader.seconds("CONNECT_TIMEOUT_SECONDS", "30"),
        )
        if reader.problems:
            raise ConfigurationError("the environment is wrong:\n" + "\n".join(f"  {line}" for line in reader.problems))
        return configuration

    def lines(self) -> Iterator[str]:
        """The configuration as the model prints it: the password hidden."""
        yield f"SIMULATION_ID: {self.simulation}"
        yield f"MODEL_ID: {self.model}"
        yield f"MQTT_HOST: {self.host}"
        yield f"MQTT_PORT: {self.port}"
        yield f"MQTT_USERNAME: {self.username}"
        yield "MQTT_PASSWORD: ****" if self.password else "MQTT_PASSWORD:"
        yield f"MQTT_TLS_CA_FILE: {self.tls_ca_file}"
        yield f"SIMULATOR_NAME: {self.simulator}"
        yield f"READY: {'yes' if self.announces_ready else 'no'}"
        yield f"RUN_SECONDS: {UNTIL_DONE if self.run_seconds is None else format(self.run_seconds, 'g')}"
        yield f"EXIT_CODE: {self.exit_code}"


@dataclass(slots=True)
class _Reader:
    """Reads one variable at a time and collects what is wrong; what it then returns is never used."""

    environment: Mapping[str, str]
    problems: list[str] = field(default_factory=list)

    def text(self, name: str, default: str) -> str:
        return self.environment.get(name) or default

    def required(self, name: str) -> str:
        value = self.text(name, "")
        if not value:
            self.problems.append(f"{name} is missing")
        return value

    def topic_level(self, name: str, default: str | None = None) -> str:
        value = self.required(name) if default is None else self.text(name, default)
        if any(character in value for character in "/+#\0"):
            self.problems.append(f"{name} may not contain '/', '+' or '#', is {value!r}")
        return value

    def yes(self, name: str, default: str) -> bool:
        value = self.text(name, default)
        if value not in ("yes", "no"):
            self.problems.append(f"{name} must be yes or no, is {value!r}")
        return value == "yes"

    def whole(self, name: str, least: int, most: int, default: str | None = None) -> int:
        value = self.required(name) if default is None else self.text(name, default)
        if not value:
            return least
        try:
            number = int(value)
        except ValueError:
            number = least - 1
        if not least <= number <= most:
            self.problems.append(f"{name} must be a whole number from {least} to {most}, is {value!r}")
        return number

    def seconds(self, name: str, default: str, alternative: str = "") -> float:
        value = self.text(name, default)
        try:
            number = float(value)
        except ValueError:
            number = -1
        if not 0 <= number <= A_YEAR:
            self.problems.append(f"{name} must be a number of seconds from 0 to {A_YEAR}{alternative}, is {value!r}")
        return number
