"""The configuration: from variables to one value, or to one error that lists all that is wrong."""

import math
import re
from base64 import b64encode
from dataclasses import fields
from pathlib import Path

import pytest

from mso.config import Config, ConfigError, load

CANARY = "canary-7f3a"
PEM = "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCg=="
"""As `base64` writes the beginning of a certificate."""


@pytest.fixture
def images(tmp_path: Path) -> Path:
    path = tmp_path / "images.yaml"
    path.write_text("{}")
    return path


@pytest.fixture
def least(images: Path) -> dict[str, str]:
    """The least that can be set."""
    return {"SIMULATOR_NAME": "essim", "MSO_BACKPLANE": "local", "MSO_LOCAL_IMAGES": str(images)}


def errors(values: dict[str, str], dotenv: Path | None = None) -> list[str]:
    with pytest.raises(ConfigError) as wrong:
        load(values, dotenv)
    return wrong.value.errors


def test_the_defaults_are_those_of_the_documentation(least: dict[str, str], images: Path) -> None:
    """What is not set is as .env.template says."""
    assert load(least) == Config(
        simulators=("essim",),
        mqtt_host="localhost",
        mqtt_port=1883,
        mqtt_username="",
        mqtt_password="",
        mqtt_tls_ca_file=None,
        mqtt_tls_cert_file=None,
        mqtt_tls_key_file=None,
        mqtt_client_id="mso-essim",
        backplane="local",
        local_images=images,
        docker_host="",
        docker_tls_verify=False,
        docker_cert_path=None,
        docker_network="",
        docker_project="mso",
        kubernetes_api_token="",
        kubernetes_host="",
        kubernetes_port=443,
        kubernetes_ca_file=None,
        kubernetes_ca_data="",
        kubernetes_verify_tls=True,
        kubeconfig=None,
        kubernetes_context="",
        kubernetes_namespace="dots",
        pull_secret="",
        pull_policy="",
        pod_security="baseline",
        pod_template=None,
        resync_seconds=30.0,
        deploy_timeout_seconds=300.0,
        image_pull_grace_seconds=60.0,
        pending_timeout_seconds=300.0,
        node_lost_seconds=60.0,
        send_error_occurred=False,
        state_dir=Path(".mso"),
        database_url="",
        history_days=30.0,
        http_port=8080,
        max_message_bytes=16 * 1024 * 1024,
        ready_timeout_seconds=0.0,
        stop_grace_seconds=30.0,
        deploy_concurrency=32,
        max_active_pods=0,
        log_level="INFO",
        log_format="auto",
    )


@pytest.mark.parametrize(
    ("variable", "text", "name", "value"),
    (
        ("SIMULATOR_NAME", "DOTS-so,ESSIM", "simulators", ("dots-so", "essim")),
        ("MQTT_HOST", "broker.example", "mqtt_host", "broker.example"),
        ("MQTT_PORT", "8883", "mqtt_port", 8883),
        ("MQTT_USERNAME", "mso", "mqtt_username", "mso"),
        ("MQTT_CLIENT_ID", "me", "mqtt_client_id", "me"),
        ("MSO_BACKPLANE", "LOCAL", "backplane", "local"),
        ("MSO_BACKPLANE", "Kubernetes", "backplane", "kubernetes"),
        ("MSO_BACKPLANE", "Docker", "backplane", "docker"),
        ("DOCKER_HOST", "tcp://10.0.0.1:2376", "docker_host", "tcp://10.0.0.1:2376"),
        ("DOCKER_TLS_VERIFY", "1", "docker_tls_verify", True),
        ("DOCKER_CERT_PATH", "/etc/mso/docker", "docker_cert_path", Path("/etc/mso/docker")),
        ("MSO_DOCKER_NETWORK", "stack_default", "docker_network", "stack_default"),
        ("MSO_DOCKER_PROJECT", "essim-2", "docker_project", "essim-2"),
        ("KUBERNETES_HOST", "cluster.example", "kubernetes_host", "cluster.example"),
        (
            "MSO_FATAL_WAIT_REASONS",
            "InvalidImageName, RunContainerError",
            "fatal_wait_reasons",
            ("InvalidImageName", "RunContainerError"),
        ),
        ("KUBERNETES_HOST", "https://10.0.0.1/", "kubernetes_host", "10.0.0.1"),
        ("KUBERNETES_PORT", "6443", "kubernetes_port", 6443),
        ("KUBERNETES_PORT", "tcp://10.96.0.1:443", "kubernetes_port", 443),
        ("KUBERNETES_CA_DATA", PEM, "kubernetes_ca_data", "-----BEGIN CERTIFICATE-----\n"),
        ("KUBERNETES_VERIFY_TLS", "false", "kubernetes_verify_tls", False),
        ("KUBERNETES_VERIFY_TLS", "TRUE", "kubernetes_verify_tls", True),
        ("KUBECONFIG", "~/.kube/other", "kubeconfig", Path("~/.kube/other").expanduser()),
        ("KUBERNETES_CONTEXT", "me@cluster", "kubernetes_context", "me@cluster"),
        ("KUBERNETES_NAMESPACE", "dots-2", "kubernetes_namespace", "dots-2"),
        ("KUBERNETES_PULL_IMAGE_SECRET_NAME", "registry", "pull_secret", "registry"),
        ("MSO_IMAGE_PULL_POLICY", "IfNotPresent", "pull_policy", "IfNotPresent"),
        ("MSO_POD_SECURITY", "Restricted", "pod_security", "restricted"),
        ("MSO_RESYNC_SECONDS", "1", "resync_seconds", 1.0),
        ("MSO_DEPLOY_TIMEOUT_SECONDS", "0.5e2", "deploy_timeout_seconds", 50.0),
        ("MSO_IMAGE_PULL_GRACE_SECONDS", "0", "image_pull_grace_seconds", 0.0),
        ("MSO_PENDING_TIMEOUT_SECONDS", "0", "pending_timeout_seconds", 0.0),
        ("MSO_NODE_LOST_SECONDS", "1", "node_lost_seconds", 1.0),
        ("MSO_SEND_ERROR_OCCURRED", "True", "send_error_occurred", True),
        ("MSO_MAX_ACTIVE_PODS", "100", "max_active_pods", 100),
        ("MSO_STATE_DIR", "/var/lib/mso", "state_dir", Path("/var/lib/mso")),
        ("MSO_STATE_DIR", "~/mso", "state_dir", Path("~/mso").expanduser()),
        ("MSO_DATABASE_URL", "postgresql://mso:pw@db:5432/mso", "database_url", "postgresql://mso:pw@db:5432/mso"),
        ("MSO_DATABASE_URL", "postgresql+psycopg://db/mso", "database_url", "postgresql+psycopg://db/mso"),
        ("MSO_HISTORY_DAYS", "0.5", "history_days", 0.5),
        ("MSO_HISTORY_DAYS", "0", "history_days", 0.0),
        ("MSO_HTTP_PORT", "0", "http_port", 0),
        ("MSO_MAX_MESSAGE_BYTES", "1024", "max_message_bytes", 1024),
        ("MSO_READY_TIMEOUT_SECONDS", "1.5", "ready_timeout_seconds", 1.5),
        ("MSO_STOP_GRACE_SECONDS", "0", "stop_grace_seconds", 0.0),
        ("MSO_DEPLOY_CONCURRENCY", "1", "deploy_concurrency", 1),
        ("LOG_LEVEL", "debug", "log_level", "DEBUG"),
        ("LOG_FORMAT", "JSON", "log_format", "json"),
        ("MQTT_HOST", "  padded  ", "mqtt_host", "padded"),
    ),
)
def test_each_variable_is_read(least: dict[str, str], variable: str, text: str, name: str, value: object) -> None:
    """A variable sets its one field."""
    assert getattr(load(least | {variable: text}), name) == value


def test_the_files_of_tls_are_read(least: dict[str, str], images: Path) -> None:
    """Each of the three is a file that is there."""
    config = load(least | {f"MQTT_TLS_{name}_FILE": str(images) for name in ("CA", "CERT", "KEY")})
    assert config.mqtt_tls_ca_file == config.mqtt_tls_cert_file == config.mqtt_tls_key_file == images


def test_a_password_is_what_stands_there(least: dict[str, str], tmp_path: Path) -> None:
    """Blanks, dollars and hashes may be part of it."""
    password = " a ${HOME} #b "
    assert load(least | {"MQTT_USERNAME": "mso", "MQTT_PASSWORD": password}).mqtt_password == password
    dotenv = tmp_path / ".env"
    dotenv.write_text(f"MQTT_USERNAME=mso\nMQTT_PASSWORD='{password}'\n")
    assert load(least, dotenv).mqtt_password == password


@pytest.mark.parametrize("empty", ("", " ", "\t"))
@pytest.mark.parametrize("variable", [field.metadata["variable"] for field in fields(Config)])
def test_an_empty_value_means_unset(least: dict[str, str], tmp_path: Path, variable: str, empty: str) -> None:
    """A variable that is there without a value is as one that is not there, in the environment and in .env."""
    without = {name: value for name, value in least.items() if name != variable}
    dotenv = tmp_path / ".env"
    dotenv.write_text(f"{variable}='{empty}'\n")
    outcomes: list[Config | list[str]] = []
    for values, file in ((without, None), (least | {variable: empty}, None), (without, dotenv)):
        try:
            outcomes.append(load(values, file))
        except ConfigError as wrong:
            outcomes.append(wrong.errors)
    assert outcomes[0] == outcomes[1] == outcomes[2]


def test_the_environment_wins_over_dotenv(least: dict[str, str], tmp_path: Path) -> None:
    """What is set where the process starts counts; an empty variable hides nothing."""
    dotenv = tmp_path / ".env"
    dotenv.write_text("MQTT_HOST=file\nMQTT_PORT=1\nexport MQTT_CLIENT_ID=exported\n# LOG_LEVEL=ERROR\nBARE\n")
    config = load(least | {"MQTT_HOST": "environment", "MQTT_PORT": ""}, dotenv)
    assert (config.mqtt_host, config.mqtt_port, config.mqtt_client_id) == ("environment", 1, "exported")
    assert config.log_level == "INFO"


def test_a_dotenv_that_is_not_there_is_none(least: dict[str, str], tmp_path: Path) -> None:
    """The file is optional."""
    assert load(least, tmp_path / "nowhere") == load(least)


@pytest.mark.parametrize("content", (b"LOG_LEVEL=\xff\n", None))
def test_a_dotenv_that_cannot_be_read_is_an_error(least: dict[str, str], tmp_path: Path, content: bytes | None) -> None:
    """Something that is no text, or no file, is said to be so, and is no traceback."""
    dotenv = tmp_path / ".env"
    if content is None:
        dotenv.mkdir()
    else:
        dotenv.write_bytes(content)
    (error,) = errors(least, dotenv)
    assert str(dotenv) in error


@pytest.mark.parametrize(
    ("variable", "text"),
    (
        ("SIMULATOR_NAME", "a,,b"),
        ("SIMULATOR_NAME", "a,"),
        ("SIMULATOR_NAME", "a, b"),
        ("SIMULATOR_NAME", "a b"),
        ("SIMULATOR_NAME", "a/b"),
        ("SIMULATOR_NAME", "+"),
        ("SIMULATOR_NAME", "a#"),
        ("SIMULATOR_NAME", "a,A"),
        ("SIMULATOR_NAME", "model"),
        ("SIMULATOR_NAME", "MSO"),
        ("MQTT_PORT", "0"),
        ("MQTT_PORT", "65536"),
        ("MQTT_PORT", "many"),
        ("MQTT_PORT", "18.83"),
        ("MSO_DATABASE_URL", "mysql://db/mso"),
        ("MSO_DATABASE_URL", "db:5432"),
        ("MSO_DATABASE_URL", "/var/lib/mso/ledger.sqlite"),
        ("MSO_HISTORY_DAYS", "-1"),
        ("MSO_HISTORY_DAYS", "3661"),
        ("MSO_HISTORY_DAYS", "nan"),
        ("MSO_HISTORY_DAYS", "a month"),
        ("MSO_HTTP_PORT", "-1"),
        ("MSO_MAX_MESSAGE_BYTES", "1023"),
        ("MSO_MAX_MESSAGE_BYTES", "268435456"),
        ("MSO_READY_TIMEOUT_SECONDS", "-0.1"),
        ("MSO_READY_TIMEOUT_SECONDS", "1e9"),
        ("MSO_STOP_GRACE_SECONDS", "nan"),
        ("MSO_STOP_GRACE_SECONDS", "inf"),
        ("MSO_DEPLOY_CONCURRENCY", "0"),
        ("MSO_BACKPLANE", "podman"),
        ("MSO_DOCKER_PROJECT", "Mine"),
        ("MSO_LOCAL_IMAGES", "/no/such/file"),
        ("MSO_LOCAL_IMAGES", "~no-such-user/file"),
        ("MSO_STATE_DIR", "~no-such-user/mso"),
        ("KUBERNETES_HOST", "http://10.0.0.1"),
        ("MSO_FATAL_WAIT_REASONS", "InvalidImageName,,ErrImagePull"),
        ("MSO_FATAL_WAIT_REASONS", "no such thing"),
        ("KUBERNETES_HOST", "10.0.0.1:6443"),
        ("KUBERNETES_HOST", "https://10.0.0.1:6443"),
        ("KUBERNETES_HOST", "cluster.example/path"),
        ("KUBERNETES_PORT", "0"),
        ("KUBERNETES_PORT", "https"),
        ("KUBERNETES_CA_FILE", "/no/such/file"),
        ("KUBERNETES_CA_DATA", "-----BEGIN CERTIFICATE-----"),
        ("KUBERNETES_CA_DATA", "//79"),
        ("KUBERNETES_CA_DATA", "aGVsbG8="),
        ("KUBERNETES_VERIFY_TLS", "0"),
        ("KUBERNETES_VERIFY_TLS", "yes"),
        ("KUBECONFIG", "~no-such-user/config"),
        ("KUBERNETES_NAMESPACE", "Dots"),
        ("KUBERNETES_NAMESPACE", "dots_2"),
        ("KUBERNETES_NAMESPACE", "-dots"),
        ("KUBERNETES_NAMESPACE", "dots-"),
        ("KUBERNETES_NAMESPACE", "dots/../kube-system"),
        ("KUBERNETES_NAMESPACE", "d" * 64),
        ("MSO_IMAGE_PULL_POLICY", "always"),
        ("MSO_POD_SECURITY", "privileged"),
        ("MSO_POD_TEMPLATE_FILE", "/no/such/file"),
        ("MSO_RESYNC_SECONDS", "0"),
        ("MSO_DEPLOY_TIMEOUT_SECONDS", "0"),
        ("MSO_IMAGE_PULL_GRACE_SECONDS", "-1"),
        ("MSO_PENDING_TIMEOUT_SECONDS", "inf"),
        ("MSO_NODE_LOST_SECONDS", "nan"),
        ("MSO_SEND_ERROR_OCCURRED", "on"),
        ("MSO_MAX_ACTIVE_PODS", "-1"),
        ("MQTT_TLS_CA_FILE", "/no/such/file"),
        ("MQTT_TLS_CA_FILE", "/"),
        ("LOG_LEVEL", "loud"),
        ("LOG_FORMAT", "xml"),
    ),
)
def test_what_cannot_be_used_is_an_error_that_names_the_variable(
    least: dict[str, str], variable: str, text: str
) -> None:
    """One mistake is one line, which begins with what to mend."""
    (error,) = errors(least | {variable: text})
    assert error.startswith(variable)


def test_models_run_in_kubernetes_unless_something_else_is_said() -> None:
    """The name of a simulation orchestrator is all that a pod of a cluster has to be told."""
    config = load({"SIMULATOR_NAME": "essim"})
    assert (config.backplane, config.kubernetes_namespace, config.local_images) == ("kubernetes", "dots", None)


def test_what_kubernetes_sets_in_a_pod_is_not_ours(least: dict[str, str]) -> None:
    """It names the services of the namespace in variables that look like ours: they are none."""
    found = {
        "KUBERNETES_PORT": "tcp://10.96.0.1:6443",
        "KUBERNETES_PORT_443_TCP": "tcp://10.96.0.1:443",
        "KUBERNETES_SERVICE_HOST": "10.96.0.1",
        "KUBERNETES_SERVICE_PORT": "443",
        "MSO_PORT": "tcp://10.96.0.2:8080",
    }
    assert load(least | found) == load(least)


@pytest.mark.parametrize("missing", ("SIMULATOR_NAME", "MSO_LOCAL_IMAGES"))
def test_what_is_required_is_asked_for(least: dict[str, str], missing: str) -> None:
    """Nothing is guessed that only the operator can know."""
    del least[missing]
    (error,) = errors(least)
    assert error.startswith(f"{missing} is required")


def test_what_belongs_together_is_set_together(least: dict[str, str], images: Path) -> None:
    """A password has a name, a certificate a key, and the other way round."""
    assert errors(least | {"MQTT_PASSWORD": CANARY})[0].startswith("MQTT_PASSWORD")
    for variable in ("MQTT_TLS_CERT_FILE", "MQTT_TLS_KEY_FILE"):
        assert variable in errors(least | {variable: str(images)})[0]


def test_a_token_is_for_a_host(least: dict[str, str]) -> None:
    """It is sent to nobody that was not named; a host alone does no harm."""
    (error,) = errors(least | {"KUBERNETES_API_TOKEN": CANARY})
    assert error.startswith("KUBERNETES_API_TOKEN")
    assert "KUBERNETES_HOST" in error
    assert load(least | {"KUBERNETES_HOST": "10.0.0.1"}).kubernetes_host == "10.0.0.1"
    config = load(least | {"KUBERNETES_HOST": "10.0.0.1", "KUBERNETES_API_TOKEN": f" {CANARY}\n"})
    assert config.kubernetes_api_token == CANARY


def test_there_is_one_authority(least: dict[str, str], images: Path) -> None:
    """Of two that are set nobody knows which is meant."""
    (error,) = errors(least | {"KUBERNETES_CA_FILE": str(images), "KUBERNETES_CA_DATA": PEM})
    assert "KUBERNETES_CA_FILE" in error
    assert "KUBERNETES_CA_DATA" in error
    assert load(least | {"KUBERNETES_CA_FILE": str(images)}).kubernetes_ca_file == images


def test_the_files_of_pods_are_read(least: dict[str, str], images: Path) -> None:
    """A template that is there is taken as it is; what is in it is not this module's business."""
    assert load(least | {"MSO_POD_TEMPLATE_FILE": str(images)}).pod_template == images


def test_one_error_lists_everything_and_no_secret() -> None:
    """Whoever mends a configuration mends it once; what is secret is not in what is said."""
    wrong = {
        "SIMULATOR_NAME": "a,,b/c",
        "MQTT_PORT": "x",
        "MQTT_PASSWORD": CANARY,
        "MQTT_TLS_CERT_FILE": "/no/such/file",
        "MSO_BACKPLANE": "local",
        "MSO_DATABASE_URL": f"mysql://mso:{CANARY}@db/mso",
        "MSO_HTTP_PORT": "99999",
        "MSO_STOP_GRACE_SECONDS": str(math.nan),
        "LOG_LEVEL": "loud",
    }
    found = errors(wrong)
    assert len(found) == 10  # two of SIMULATOR_NAME, and MSO_LOCAL_IMAGES
    assert CANARY not in "\n".join(found)
    with pytest.raises(ConfigError) as error:
        load(wrong)
    assert str(error.value).splitlines() == found


def test_secrets_are_never_shown(least: dict[str, str]) -> None:
    """Neither in what is logged at the start nor in what Python prints."""
    secrets = {
        "MQTT_PASSWORD": CANARY,
        "KUBERNETES_API_TOKEN": CANARY,
        "MSO_DATABASE_URL": f"postgresql://mso:{CANARY}@db:5432/mso",
        "KUBERNETES_CA_DATA": b64encode(f"-----BEGIN CERTIFICATE-----\n{CANARY}\n".encode()).decode(),
    }
    config = load(least | secrets | {"MQTT_USERNAME": "mso", "KUBERNETES_HOST": "10.0.0.1"})
    assert config.mqtt_password == config.kubernetes_api_token == CANARY
    assert CANARY in config.kubernetes_ca_data
    assert CANARY in config.database_url
    assert CANARY not in repr(config)
    shown = config.shown()
    assert CANARY not in repr(shown)
    for variable in secrets:
        assert shown[variable] == "****"
        assert load(least).shown()[variable] == ""


def test_what_is_in_force_is_shown_by_variable(least: dict[str, str], images: Path) -> None:
    """The log at the start shows values as one would type them."""
    shown = load(least | {"SIMULATOR_NAME": "a,b"}).shown()
    assert shown["SIMULATOR_NAME"] == "a,b"
    assert shown["MSO_LOCAL_IMAGES"] == str(images)
    assert shown["MQTT_PORT"] == 1883
    assert "MQTT_TLS_CA_FILE" not in shown


@pytest.mark.parametrize(
    ("names", "client_id"), (("essim", "mso-essim"), ("B,a", "mso-a-b"), ("a,b", "mso-a-b"), ("ESSIM", "mso-essim"))
)
def test_the_client_id_is_stable(least: dict[str, str], names: str, client_id: str) -> None:
    """The same simulators have the same session, whatever the order and wherever the service starts."""
    assert load(least | {"SIMULATOR_NAME": names}).mqtt_client_id == client_id


def test_the_template_documents_exactly_what_is_read() -> None:
    """Every variable is in .env.template, with a comment above it, and nothing else is."""
    lines = (Path(__file__).parent.parent / ".env.template").read_text().splitlines()
    documented = [line.split("=")[0] for line in lines if re.match(r"[A-Z_]+=", line)]
    assert sorted(documented) == sorted(field.metadata["variable"] for field in fields(Config))
    assert len(documented) == len(set(documented))


def test_the_template_shows_the_defaults(least: dict[str, str]) -> None:
    """Who copies the template and fills in what is required has changed nothing else."""
    template = Path(__file__).parent.parent / ".env.template"
    config = load(least, template)
    expected = load(least)
    assert config == expected
