"""Configuration: environment variables and `.env` to one frozen value, or one error that lists all that is wrong.

An empty value means unset. The environment wins over `.env`. Nothing else in the program reads the environment.
"""

import re
from base64 import b64decode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from io import StringIO
from pathlib import Path
from typing import TypeVar

from dotenv import dotenv_values

BACKPLANES = ("kubernetes", "docker", "local")
POD_SECURITY = ("baseline", "restricted")
PULL_POLICIES = ("", "Always", "IfNotPresent", "Never")
FATAL_WAIT_REASONS = ("InvalidImageName", "ErrImageNeverPull", "CreateContainerConfigError")
"""Why a container waits that nothing will ever start, in the words of the kubelet (fault P3)."""
LOG_FORMATS = ("auto", "console", "json")
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
RESERVED_SIMULATORS = ("model", "mso")
N = TypeVar("N", int, float)
_NAMESPACE = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_PROJECT = re.compile(r"[a-z0-9][a-z0-9_.-]{0,39}")
_SIMULATOR = re.compile(r"[^/+#\s\0]+")


class ConfigError(Exception):
    """The configuration cannot be used; one line for each thing that is wrong, and what to do about it."""

    def __init__(self, errors: list[str]) -> None:
        super().__init__("\n".join(errors))
        self.errors = errors


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What an operator sets. Each field is read from the variable of the name in its metadata."""

    simulators: tuple[str, ...] = field(metadata={"variable": "SIMULATOR_NAME"})
    mqtt_host: str = field(default="localhost", metadata={"variable": "MQTT_HOST"})
    mqtt_port: int = field(default=1883, metadata={"variable": "MQTT_PORT"})
    mqtt_username: str = field(default="", metadata={"variable": "MQTT_USERNAME"})
    mqtt_password: str = field(default="", repr=False, metadata={"variable": "MQTT_PASSWORD"})
    mqtt_tls_ca_file: Path | None = field(default=None, metadata={"variable": "MQTT_TLS_CA_FILE"})
    mqtt_tls_cert_file: Path | None = field(default=None, metadata={"variable": "MQTT_TLS_CERT_FILE"})
    mqtt_tls_key_file: Path | None = field(default=None, metadata={"variable": "MQTT_TLS_KEY_FILE"})
    mqtt_client_id: str = field(default="", metadata={"variable": "MQTT_CLIENT_ID"})
    backplane: str = field(default="kubernetes", metadata={"variable": "MSO_BACKPLANE"})
    local_images: Path | None = field(default=None, metadata={"variable": "MSO_LOCAL_IMAGES"})
    docker_host: str = field(default="", metadata={"variable": "DOCKER_HOST"})
    docker_tls_verify: bool = field(default=False, metadata={"variable": "DOCKER_TLS_VERIFY"})
    docker_cert_path: Path | None = field(default=None, metadata={"variable": "DOCKER_CERT_PATH"})
    docker_network: str = field(default="", metadata={"variable": "MSO_DOCKER_NETWORK"})
    docker_project: str = field(default="mso", metadata={"variable": "MSO_DOCKER_PROJECT"})
    kubernetes_api_token: str = field(default="", repr=False, metadata={"variable": "KUBERNETES_API_TOKEN"})
    kubernetes_host: str = field(default="", metadata={"variable": "KUBERNETES_HOST"})
    kubernetes_port: int = field(default=443, metadata={"variable": "KUBERNETES_PORT"})
    kubernetes_ca_file: Path | None = field(default=None, metadata={"variable": "KUBERNETES_CA_FILE"})
    kubernetes_ca_data: str = field(default="", repr=False, metadata={"variable": "KUBERNETES_CA_DATA"})
    kubernetes_verify_tls: bool = field(default=True, metadata={"variable": "KUBERNETES_VERIFY_TLS"})
    kubeconfig: Path | None = field(default=None, metadata={"variable": "KUBECONFIG"})
    kubernetes_context: str = field(default="", metadata={"variable": "KUBERNETES_CONTEXT"})
    kubernetes_namespace: str = field(default="dots", metadata={"variable": "KUBERNETES_NAMESPACE"})
    pull_secret: str = field(default="", metadata={"variable": "KUBERNETES_PULL_IMAGE_SECRET_NAME"})
    pull_policy: str = field(default="", metadata={"variable": "MSO_IMAGE_PULL_POLICY"})
    pod_security: str = field(default="baseline", metadata={"variable": "MSO_POD_SECURITY"})
    pod_template: Path | None = field(default=None, metadata={"variable": "MSO_POD_TEMPLATE_FILE"})
    resync_seconds: float = field(default=30.0, metadata={"variable": "MSO_RESYNC_SECONDS"})
    deploy_timeout_seconds: float = field(default=300.0, metadata={"variable": "MSO_DEPLOY_TIMEOUT_SECONDS"})
    image_pull_grace_seconds: float = field(default=60.0, metadata={"variable": "MSO_IMAGE_PULL_GRACE_SECONDS"})
    fatal_wait_reasons: tuple[str, ...] = field(
        default=FATAL_WAIT_REASONS, metadata={"variable": "MSO_FATAL_WAIT_REASONS"}
    )
    pending_timeout_seconds: float = field(default=300.0, metadata={"variable": "MSO_PENDING_TIMEOUT_SECONDS"})
    node_lost_seconds: float = field(default=60.0, metadata={"variable": "MSO_NODE_LOST_SECONDS"})
    send_error_occurred: bool = field(default=False, metadata={"variable": "MSO_SEND_ERROR_OCCURRED"})
    state_dir: Path = field(default=Path(".mso"), metadata={"variable": "MSO_STATE_DIR"})
    database_url: str = field(default="", repr=False, metadata={"variable": "MSO_DATABASE_URL"})
    history_days: float = field(default=30.0, metadata={"variable": "MSO_HISTORY_DAYS"})
    http_port: int = field(default=8080, metadata={"variable": "MSO_HTTP_PORT"})
    max_message_bytes: int = field(default=16 * 1024 * 1024, metadata={"variable": "MSO_MAX_MESSAGE_BYTES"})
    ready_timeout_seconds: float = field(default=0.0, metadata={"variable": "MSO_READY_TIMEOUT_SECONDS"})
    stop_grace_seconds: float = field(default=30.0, metadata={"variable": "MSO_STOP_GRACE_SECONDS"})
    deploy_concurrency: int = field(default=32, metadata={"variable": "MSO_DEPLOY_CONCURRENCY"})
    max_active_pods: int = field(default=0, metadata={"variable": "MSO_MAX_ACTIVE_PODS"})
    log_level: str = field(default="INFO", metadata={"variable": "LOG_LEVEL"})
    log_format: str = field(default="auto", metadata={"variable": "LOG_FORMAT"})

    def shown(self) -> dict[str, object]:
        """What is in force, by variable, to be logged: secrets hidden."""
        return {
            f.metadata["variable"]: ("****" if value else "") if not f.repr else _plain(value)
            for f in fields(self)
            if (value := getattr(self, f.name)) is not None
        }


def _plain(value: object) -> object:
    match value:
        case tuple():
            return ",".join(value)
        case Path():
            return str(value)
        case _:
            return value


def load(environment: Mapping[str, str], dotenv: Path | None = None) -> Config:
    """The configuration from a process's environment and, below it, a `.env` file if there is one.

    A value is what stands there: nothing in it is expanded. Raises ConfigError.
    """
    from_file = _read(dotenv) if dotenv and dotenv.exists() else {}
    values = {name: value for name, value in {**from_file, **_set_in(environment)}.items() if value and value.strip()}
    return _Reading(values).config()


def _read(dotenv: Path) -> dict[str, str | None]:
    try:
        text = dotenv.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError([f"{dotenv} cannot be read: {exc}"]) from exc
    return dotenv_values(stream=StringIO(text), interpolate=False)


def _set_in(environment: Mapping[str, str]) -> dict[str, str]:
    """An empty variable of the environment is unset: it does not hide what `.env` says."""
    return {name: value for name, value in environment.items() if value.strip()}


class _Reading:
    """One pass over the variables that collects all that is wrong with them."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self.password = values.get("MQTT_PASSWORD", "")  # blanks may be part of it
        self.values = {name: value.strip() for name, value in values.items()}
        self.errors: list[str] = []

    def config(self) -> Config:
        config = Config(
            simulators=self.simulators(),
            mqtt_host=self.values.get("MQTT_HOST", "localhost"),
            mqtt_port=self.whole("MQTT_PORT", 1883, 1, 65535),
            mqtt_username=self.values.get("MQTT_USERNAME", ""),
            mqtt_password=self.password,
            mqtt_tls_ca_file=self.file("MQTT_TLS_CA_FILE"),
            mqtt_tls_cert_file=self.file("MQTT_TLS_CERT_FILE"),
            mqtt_tls_key_file=self.file("MQTT_TLS_KEY_FILE"),
            mqtt_client_id=self.client_id(),
            backplane=self.choice("MSO_BACKPLANE", BACKPLANES, "kubernetes", str.lower),
            local_images=self.file("MSO_LOCAL_IMAGES"),
            docker_host=self.values.get("DOCKER_HOST", ""),
            # As for the Docker command line: whatever it is, it is set.
            docker_tls_verify="DOCKER_TLS_VERIFY" in self.values,
            docker_cert_path=self.path("DOCKER_CERT_PATH"),
            docker_network=self.values.get("MSO_DOCKER_NETWORK", ""),
            docker_project=self.project(),
            kubernetes_api_token=self.values.get("KUBERNETES_API_TOKEN", ""),
            kubernetes_host=self.kubernetes_host(),
            kubernetes_port=self.kubernetes_port(),
            kubernetes_ca_file=self.file("KUBERNETES_CA_FILE"),
            kubernetes_ca_data=self.certificates("KUBERNETES_CA_DATA"),
            kubernetes_verify_tls=self.switch("KUBERNETES_VERIFY_TLS", default=True),
            kubeconfig=self.path("KUBECONFIG"),
            kubernetes_context=self.values.get("KUBERNETES_CONTEXT", ""),
            kubernetes_namespace=self.namespace(),
            pull_secret=self.values.get("KUBERNETES_PULL_IMAGE_SECRET_NAME", ""),
            pull_policy=self.choice("MSO_IMAGE_PULL_POLICY", PULL_POLICIES, "", str),
            pod_security=self.choice("MSO_POD_SECURITY", POD_SECURITY, "baseline", str.lower),
            pod_template=self.file("MSO_POD_TEMPLATE_FILE"),
            resync_seconds=self.seconds("MSO_RESYNC_SECONDS", 30.0, 1, 3600),
            deploy_timeout_seconds=self.seconds("MSO_DEPLOY_TIMEOUT_SECONDS", 300.0, 1, 86_400),
            image_pull_grace_seconds=self.seconds("MSO_IMAGE_PULL_GRACE_SECONDS", 60.0, 0, 86_400),
            fatal_wait_reasons=self.words("MSO_FATAL_WAIT_REASONS", FATAL_WAIT_REASONS),
            pending_timeout_seconds=self.seconds("MSO_PENDING_TIMEOUT_SECONDS", 300.0, 0, 31_622_400),
            node_lost_seconds=self.seconds("MSO_NODE_LOST_SECONDS", 60.0, 1, 86_400),
            send_error_occurred=self.switch("MSO_SEND_ERROR_OCCURRED", default=False),
            state_dir=self.path("MSO_STATE_DIR") or Path(".mso"),
            database_url=self.database_url(),
            history_days=self._number("MSO_HISTORY_DAYS", float, "a number of days", 30.0, 0, 3660),
            http_port=self.whole("MSO_HTTP_PORT", 8080, 0, 65535),
            max_message_bytes=self.whole("MSO_MAX_MESSAGE_BYTES", 16 * 1024 * 1024, 1024, 268_435_455),
            ready_timeout_seconds=self.seconds("MSO_READY_TIMEOUT_SECONDS", 0.0, 0, 31_622_400),
            stop_grace_seconds=self.seconds("MSO_STOP_GRACE_SECONDS", 30.0, 0, 86_400),
            deploy_concurrency=self.whole("MSO_DEPLOY_CONCURRENCY", 32, 1, 1000),
            max_active_pods=self.whole("MSO_MAX_ACTIVE_PODS", 0, 0, 1_000_000),
            log_level=self.choice("LOG_LEVEL", LOG_LEVELS, "INFO", str.upper),
            log_format=self.choice("LOG_FORMAT", LOG_FORMATS, "auto", str.lower),
        )
        if config.mqtt_password and not config.mqtt_username:
            self.errors.append("MQTT_PASSWORD is set but MQTT_USERNAME is not: MQTT has no password without a name")
        if bool(config.mqtt_tls_cert_file) != bool(config.mqtt_tls_key_file):
            self.errors.append("MQTT_TLS_CERT_FILE and MQTT_TLS_KEY_FILE belong together: set both or neither")
        if config.kubernetes_api_token and not config.kubernetes_host:
            self.errors.append("KUBERNETES_API_TOKEN is set but KUBERNETES_HOST is not: the token is for that host")
        if config.kubernetes_ca_file and config.kubernetes_ca_data:
            self.errors.append("KUBERNETES_CA_FILE and KUBERNETES_CA_DATA say the same: set one of them")
        if config.backplane == "local" and "MSO_LOCAL_IMAGES" not in self.values:
            self.errors.append(
                "MSO_LOCAL_IMAGES is required with MSO_BACKPLANE=local: "
                "the YAML file that says which command an image means on this machine"
            )
        if self.errors:
            raise ConfigError(self.errors)
        return config

    def simulators(self) -> tuple[str, ...]:
        text = self.values.get("SIMULATOR_NAME")
        if text is None:
            self.errors.append(
                "SIMULATOR_NAME is required: the topic name of the simulation orchestrator, or several, comma-separated"
            )
            return ()
        names: list[str] = []
        for part in text.split(","):
            name = part.lower()
            if not name:
                self.errors.append(f"SIMULATOR_NAME: {text!r} has an empty name between its commas")
            elif not _SIMULATOR.fullmatch(name):
                self.errors.append(f"SIMULATOR_NAME: {name!r} has a space, or one of '/', '+', '#'")
            elif name in RESERVED_SIMULATORS:
                self.errors.append(f"SIMULATOR_NAME: {name!r} is the topic name of another party")
            elif name in names:
                self.errors.append(f"SIMULATOR_NAME: {name!r} is there twice (names are lower-cased)")
            else:
                names.append(name)
        return tuple(names)

    def client_id(self) -> str:
        """Stable over restarts and machines, for the broker keeps a session under it: one for a set of simulators.

        A second service for the same simulators takes the session over, which is as it should be: one is active.
        """
        names = sorted(set(self.values.get("SIMULATOR_NAME", "").lower().split(",")))
        return self.values.get("MQTT_CLIENT_ID", "-".join(["mso", *names]))

    def kubernetes_host(self) -> str:
        text = self.values.get("KUBERNETES_HOST", "")
        host = text.removeprefix("https://").rstrip("/")
        if "/" in host or host.count(":") == 1:  # two and more are an address of IPv6
            self.errors.append(
                f"KUBERNETES_HOST: {text!r} is not the name or address of a host; KUBERNETES_PORT says where"
            )
        return host

    def kubernetes_port(self) -> int:
        # In a pod Kubernetes itself sets this variable, to the address of a service: tcp://10.96.0.1:443.
        if self.values.get("KUBERNETES_PORT", "").startswith("tcp://"):
            return 443
        return self.whole("KUBERNETES_PORT", 443, 1, 65535)

    def namespace(self) -> str:
        name = self.values.get("KUBERNETES_NAMESPACE", "dots")
        if not _NAMESPACE.fullmatch(name):
            self.errors.append(f"KUBERNETES_NAMESPACE: {name!r} is no name of a namespace: a-z, 0-9 and -, 63 at most")
        return name

    def project(self) -> str:
        name = self.values.get("MSO_DOCKER_PROJECT", "mso")
        if not _PROJECT.fullmatch(name):
            self.errors.append(
                f"MSO_DOCKER_PROJECT: {name!r} begins no names of containers: a-z, 0-9, '_', '.' and '-', 40 at most"
            )
        return name

    def certificates(self, name: str) -> str:
        """Base64, as a kubeconfig has it, to PEM."""
        text = self.values.get(name, "")
        try:
            pem = b64decode(text, validate=True).decode("ascii")
        except ValueError:
            pem = ""
        if text and "-----BEGIN CERTIFICATE-----" not in pem:
            self.errors.append(f"{name} is not the base64 form of a PEM file: base64 -w0 ca.crt")
        return pem

    def database_url(self) -> str:
        url = self.values.get("MSO_DATABASE_URL", "")
        if url and not url.startswith(("postgresql://", "postgresql+psycopg://")):
            self.errors.append(
                "MSO_DATABASE_URL is not the URL of a PostgreSQL database: postgresql://user:password@host:5432/name; "
                "leave it unset for a file in MSO_STATE_DIR"
            )
        return url

    def words(self, name: str, default: tuple[str, ...]) -> tuple[str, ...]:
        text = self.values.get(name)
        words = default if text is None else tuple(word.strip() for word in text.split(","))
        if not all(word.isalnum() for word in words):
            self.errors.append(f"{name}: {text!r} is no list of words, separated by commas")
        return words

    def switch(self, name: str, *, default: bool) -> bool:
        return self.choice(name, ("true", "false"), str(default).lower(), str.lower) == "true"

    def path(self, name: str) -> Path | None:
        text = self.values.get(name)
        try:
            return Path(text).expanduser() if text else None
        except RuntimeError:
            self.errors.append(f"{name}: {text!r} is in the home directory of somebody unknown")
            return None

    def file(self, name: str) -> Path | None:
        path = self.path(name)
        if path is None:
            return None
        if not path.is_file():
            self.errors.append(f"{name}: there is no file {str(path.absolute())!r}")
            return None
        try:
            path.open("rb").close()
        except OSError as exc:
            self.errors.append(f"{name}: {str(path.absolute())!r} cannot be read: {exc.strerror}")
        return path

    def choice(self, name: str, choices: tuple[str, ...], default: str, fold: Callable[[str], str]) -> str:
        text = fold(self.values.get(name, default))
        if text not in choices:
            self.errors.append(f"{name}: {text!r} is none of {', '.join(filter(None, choices))}")
        return text

    def whole(self, name: str, default: int, least: int, most: int) -> int:
        return self._number(name, int, "a whole number", default, least, most)

    def seconds(self, name: str, default: float, least: float, most: float) -> float:
        return self._number(name, float, "a number of seconds", default, least, most)

    def _number(self, name: str, kind: Callable[[str], N], noun: str, default: N, least: N, most: N) -> N:
        text = self.values.get(name)
        if text is None:
            return default
        try:
            value = kind(text)
        except ValueError:
            self.errors.append(f"{name}: {text!r} is not {noun}")
            return default
        if not least <= value <= most:  # NaN is neither
            self.errors.append(f"{name}: {text} is not between {least} and {most}")
            return default
        return value
