"""Configuration: environment variables and `.env` to one frozen value, or one error that lists all that is wrong.

An empty value means unset. The environment wins over `.env`. Nothing else in the program reads the environment.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path

from mso import kinds, variables
from mso.variables import ConfigError as ConfigError
from mso.variables import reads

BACKPLANES = ("kubernetes", "docker", "local")
FATAL_WAIT_REASONS = ("InvalidImageName", "ErrImageNeverPull", "CreateContainerConfigError")
"""Why a container waits that nothing will ever start, in the words of the kubelet (fault P3)."""
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What an operator sets. A field without `repr` is a secret. docs/configuration.md is made of this."""

    simulators: tuple[str, ...] = field(
        metadata=reads(
            "SIMULATOR_NAME",
            kinds.SIMULATORS,
            "topic name of the simulation orchestrator that is served, or of several: `dots-so,essim`; lower-cased",
            default="required",
            section="The simulation orchestrators",
        )
    )
    send_error_occurred: bool = field(
        default=False,
        metadata=reads(
            "MSO_SEND_ERROR_OCCURRED",
            kinds.SWITCH,
            "whether the first failure of a run is also told as [`ErrorOccurred`](protocol.md#erroroccurred), which "
            "orchestrators of version 1 obey; they ignore the rest",
        ),
    )
    mqtt_host: str = field(
        default="localhost", metadata=reads("MQTT_HOST", kinds.TEXT, "where the broker is", section="The broker")
    )
    mqtt_port: int = field(default=1883, metadata=reads("MQTT_PORT", kinds.PORT, "its port"))
    mqtt_username: str = field(default="", metadata=reads("MQTT_USERNAME", kinds.TEXT, "who MSO is to the broker"))
    mqtt_password: str = field(
        default="", repr=False, metadata=reads("MQTT_PASSWORD", kinds.SECRET, "secret; of no use without a user name")
    )
    mqtt_tls_ca_file: Path | None = field(
        default=None,
        metadata=reads(
            "MQTT_TLS_CA_FILE", kinds.FILE, "certificate authority of the broker, PEM; [turns TLS on](#tls)"
        ),
    )
    mqtt_tls_cert_file: Path | None = field(
        default=None,
        metadata=reads("MQTT_TLS_CERT_FILE", kinds.FILE, "certificate of MSO, PEM, with its key; turns TLS on"),
    )
    mqtt_tls_key_file: Path | None = field(
        default=None, metadata=reads("MQTT_TLS_KEY_FILE", kinds.FILE, "that key, PEM, not encrypted")
    )
    mqtt_client_id: str = field(
        default="",
        metadata=reads(
            "MQTT_CLIENT_ID",
            kinds.TEXT,
            "under which the broker keeps the session: stable, and one for each MSO",
            default="`mso-` and the names, sorted, joined by `-`",
        ),
    )
    max_message_bytes: int = field(
        default=16 * 1024 * 1024,
        metadata=reads(
            "MSO_MAX_MESSAGE_BYTES",
            kinds.whole(1024, 268_435_455, "bytes"),
            "a larger message is refused; the broker must allow as much",
        ),
    )
    backplane: str = field(
        default="kubernetes",
        metadata=reads(
            "MSO_BACKPLANE",
            kinds.choice(*BACKPLANES, fold=str.lower),
            "`kubernetes`: pods of [a cluster](kubernetes.md); `docker`: containers on [an engine](docker.md); "
            "`local`: processes of this machine",
            section="Where models run",
        ),
    )
    local_images: Path | None = field(
        default=None,
        metadata=reads(
            "MSO_LOCAL_IMAGES",
            kinds.FILE,
            "for `local`: [the file of images](#the-file-of-images), which says what an image means on this machine",
            default="required with `local`",
        ),
    )
    state_dir: Path = field(
        default=Path(".mso"),
        metadata=reads(
            "MSO_STATE_DIR",
            kinds.PATH,
            "what outlives MSO: the ledger `ledger.sqlite`, the files of local models under `local/`, messages put "
            "aside under `aside/`. They hold secrets, and are readable by their owner only",
        ),
    )
    database_url: str = field(
        default="",
        repr=False,
        metadata=reads(
            "MSO_DATABASE_URL",
            kinds.DATABASE_URL,
            "secret; a PostgreSQL database for [the ledger](#the-ledger), in place of the file. Several replicas, "
            "of which one is active, need it",
        ),
    )
    history_days: float = field(
        default=30.0,
        metadata=reads("MSO_HISTORY_DAYS", kinds.days(0, 3660), "how long the ledger keeps what is over and removed"),
    )
    deploy_concurrency: int = field(
        default=32,
        metadata=reads("MSO_DEPLOY_CONCURRENCY", kinds.whole(1, 1000), "how many models are started at once"),
    )
    max_active_pods: int = field(
        default=0,
        metadata=reads(
            "MSO_MAX_ACTIVE_PODS",
            kinds.whole(0, 1_000_000),
            "how many models may live at once, 0: any number. [Simulations wait for "
            "room](kubernetes.md#many-simulations), whole",
        ),
    )
    docker_host: str = field(
        default="",
        metadata=reads(
            "DOCKER_HOST",
            kinds.TEXT,
            "where [the engine](docker.md#access) is, `unix://` or `tcp://`, as for the Docker command line",
            default="the usual socket",
            section="The Docker engine",
        ),
    )
    docker_tls_verify: bool = field(
        default=False,
        metadata=reads(
            "DOCKER_TLS_VERIFY",
            kinds.SET,
            "the engine is spoken to with TLS, and its certificate verified, as for the Docker command line",
            default="no TLS",
        ),
    )
    docker_cert_path: Path | None = field(
        default=None,
        metadata=reads(
            "DOCKER_CERT_PATH",
            kinds.PATH,
            "directory with `ca.pem`, `cert.pem` and `key.pem` for that",
            default="`~/.docker`",
        ),
    )
    docker_network: str = field(
        default="",
        metadata=reads(
            "MSO_DOCKER_NETWORK",
            kinds.TEXT,
            "the network of [the models](docker.md#how-models-reach-the-broker)",
            default="the engine's bridge",
        ),
    )
    docker_project: str = field(
        default="mso",
        metadata=reads(
            "MSO_DOCKER_PROJECT",
            kinds.PROJECT,
            "whose containers they are, and how their names begin: [one for each "
            "MSO](docker.md#several-on-one-engine) on an engine",
        ),
    )
    kubernetes_api_token: str = field(
        default="",
        repr=False,
        metadata=reads(
            "KUBERNETES_API_TOKEN",
            kinds.TEXT,
            "secret; bearer token for the host that is named with it: one of [three ways](kubernetes.md#access)",
            section="The cluster",
        ),
    )
    kubernetes_host: str = field(
        default="",
        metadata=reads(
            "KUBERNETES_HOST",
            kinds.KUBERNETES_HOST,
            "host of the API that the token is for; `https://` before it is dropped",
        ),
    )
    kubernetes_port: int = field(
        default=443,
        metadata=reads(
            "KUBERNETES_PORT",
            kinds.KUBERNETES_PORT,
            "its port. `tcp://...`, which Kubernetes itself sets in pods, counts as unset",
        ),
    )
    kubernetes_ca_file: Path | None = field(
        default=None,
        metadata=reads("KUBERNETES_CA_FILE", kinds.FILE, "certificate authority of that API, PEM; or the next one"),
    )
    kubernetes_ca_data: str = field(
        default="",
        repr=False,
        metadata=reads("KUBERNETES_CA_DATA", kinds.CERTIFICATES, "secret; the same in base64, as in a kubeconfig"),
    )
    kubernetes_verify_tls: bool = field(
        default=True,
        metadata=reads(
            "KUBERNETES_VERIFY_TLS", kinds.SWITCH, "`false`: whoever answers is believed; a warning at every start"
        ),
    )
    kubeconfig: Path | None = field(
        default=None,
        metadata=reads(
            "KUBECONFIG",
            kinds.PATH,
            "the kubeconfig, where there is neither token nor service account",
            default="`~/.kube/config`",
        ),
    )
    kubernetes_context: str = field(
        default="",
        metadata=reads("KUBERNETES_CONTEXT", kinds.TEXT, "context of the kubeconfig", default="the current one"),
    )
    kubernetes_namespace: str = field(
        default="dots",
        metadata=reads("KUBERNETES_NAMESPACE", kinds.NAMESPACE, "where the pods are; one MSO a namespace"),
    )
    pull_secret: str = field(
        default="",
        metadata=reads(
            "KUBERNETES_PULL_IMAGE_SECRET_NAME",
            kinds.TEXT,
            "secret of the namespace with which the images of pods are pulled",
        ),
    )
    pull_policy: str = field(
        default="",
        metadata=reads(
            "MSO_IMAGE_PULL_POLICY",
            kinds.choice("Always", "IfNotPresent", "Never"),
            "when an image is pulled",
            default="Kubernetes decides; Docker pulls what it lacks",
        ),
    )
    pod_security: str = field(
        default="baseline",
        metadata=reads(
            "MSO_POD_SECURITY",
            kinds.choice("baseline", "restricted", fold=str.lower),
            "the Pod Security level that pods pass, and [containers](docker.md#what-a-container-looks-like) like them; "
            "with `restricted` no image runs as root",
        ),
    )
    pod_template: Path | None = field(
        default=None,
        metadata=reads(
            "MSO_POD_TEMPLATE_FILE",
            kinds.FILE,
            "[the pod template](kubernetes.md#the-pod-template): whatever else this cluster wants of pods",
        ),
    )
    resync_seconds: float = field(
        default=30.0,
        metadata=reads(
            "MSO_RESYNC_SECONDS",
            kinds.seconds(1, 3600),
            "time between full listings of the pods or containers; changes are heard of at once",
        ),
    )
    fatal_wait_reasons: tuple[str, ...] = field(
        default=FATAL_WAIT_REASONS,
        metadata=reads(
            "MSO_FATAL_WAIT_REASONS",
            kinds.WORDS,
            "why a container may wait that fails its model at once, in the kubelet's words",
        ),
    )
    ready_timeout_seconds: float = field(
        default=0.0,
        metadata=reads(
            "MSO_READY_TIMEOUT_SECONDS",
            kinds.seconds(0, 31_622_400),
            "a model not ready by then has FAILED, unless its request says otherwise; 0: no limit",
            section="How long things may take",
        ),
    )
    stop_grace_seconds: float = field(
        default=30.0,
        metadata=reads(
            "MSO_STOP_GRACE_SECONDS",
            kinds.seconds(0, 86_400),
            "what models of a stopped simulation get to end by themselves",
        ),
    )
    deploy_timeout_seconds: float = field(
        default=300.0,
        metadata=reads(
            "MSO_DEPLOY_TIMEOUT_SECONDS",
            kinds.seconds(1, 86_400),
            "how long a deployment is tried that cannot be done now: the API is busy or away, the quota used up",
        ),
    )
    image_pull_grace_seconds: float = field(
        default=60.0,
        metadata=reads(
            "MSO_IMAGE_PULL_GRACE_SECONDS",
            kinds.seconds(0, 86_400),
            "how long an image may fail to be pulled before its model has FAILED",
        ),
    )
    pending_timeout_seconds: float = field(
        default=300.0,
        metadata=reads(
            "MSO_PENDING_TIMEOUT_SECONDS", kinds.seconds(0, 31_622_400), "how long a pod may wait for a node"
        ),
    )
    node_lost_seconds: float = field(
        default=60.0,
        metadata=reads(
            "MSO_NODE_LOST_SECONDS",
            kinds.seconds(1, 86_400),
            "how long a node may be silent about a pod that it is to end",
        ),
    )
    http_port: int = field(
        default=8080,
        metadata=reads(
            "MSO_HTTP_PORT",
            kinds.whole(0, 65535),
            "port of [the HTTP surface](#the-http-surface), on every interface; 0: none",
            section="For operators",
        ),
    )
    log_level: str = field(
        default="INFO",
        metadata=reads("LOG_LEVEL", kinds.choice(*LOG_LEVELS, fold=str.upper), "what is logged: this and worse"),
    )
    log_format: str = field(
        default="auto",
        metadata=reads(
            "LOG_FORMAT",
            kinds.choice("auto", "console", "json", fold=str.lower),
            "`console` for people, `json` for machines; `auto`: console on a terminal, else json",
        ),
    )

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
    texts = variables.texts(environment, dotenv)
    values, errors = variables.values(fields(Config), texts)
    values.setdefault("simulators", ())
    values.setdefault("mqtt_client_id", _client_id(texts.get("SIMULATOR_NAME", "")))
    config = Config(**values)
    errors += _amiss_together(config, texts)
    if errors:
        raise ConfigError(errors)
    return config


def _client_id(simulators: str) -> str:
    """Stable over restarts and machines, for the broker keeps a session under it: one for a set of simulators.

    A second service for the same simulators takes the session over, which is as it should be: one is active.
    """
    return "-".join(["mso", *sorted(set(simulators.strip().lower().split(",")))])


def _amiss_together(config: Config, texts: Mapping[str, str]) -> Iterator[str]:
    """What is wrong with variables that are right each for itself."""
    if "SIMULATOR_NAME" not in texts:
        yield "SIMULATOR_NAME is required: the topic name of the simulation orchestrator, or several, comma-separated"
    if config.mqtt_password and not config.mqtt_username:
        yield "MQTT_PASSWORD is set but MQTT_USERNAME is not: MQTT has no password without a name"
    if bool(config.mqtt_tls_cert_file) != bool(config.mqtt_tls_key_file):
        yield "MQTT_TLS_CERT_FILE and MQTT_TLS_KEY_FILE belong together: set both or neither"
    if config.kubernetes_api_token and not config.kubernetes_host:
        yield "KUBERNETES_API_TOKEN is set but KUBERNETES_HOST is not: the token is for that host"
    if config.kubernetes_ca_file and config.kubernetes_ca_data:
        yield "KUBERNETES_CA_FILE and KUBERNETES_CA_DATA say the same: set one of them"
    if config.backplane == "local" and "MSO_LOCAL_IMAGES" not in texts:
        yield (
            "MSO_LOCAL_IMAGES is required with MSO_BACKPLANE=local: "
            "the YAML file that says which command an image means on this machine"
        )
