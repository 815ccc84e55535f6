"""The edges, built from the configuration: who we talk to, where models run, what outlives us, who is active.

Only this names concrete edges, and mso/doctor.py, which looks at them. What a place needs not is not imported there.
"""

import secrets
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mso import __version__
from mso.backplane import Backplane
from mso.backplane.images import LocalImages
from mso.backplane.lease import FileLease, Lease
from mso.backplane.local import LocalBackplane
from mso.broker import Broker
from mso.broker.mqtt import MqttBroker, MqttSettings, Presence
from mso.config import Config
from mso.ledger import Ledger
from mso.ledger.sql import SqlLedger
from mso.model import SimulatorName
from mso.observers.witness import Absentee, Witness
from mso.protocol import lifecycle, topics

if TYPE_CHECKING:
    from mso.backplane.docker_engine import Address
    from mso.backplane.kubernetes_api import Access
    from mso.backplane.pods import PodSettings


def build_lease(config: Config) -> Lease:
    """The right to be the one that acts."""
    file = FileLease(config.state_dir / "lease")
    if config.backplane == "local":
        return file
    # Imported here, as the backplanes are.
    if config.backplane == "docker":
        from mso.backplane.docker_engine import Engine
        from mso.backplane.docker_lease import DockerLease

        return DockerLease(file, Engine(docker_address(config)), config.docker_project)
    from mso.backplane.kubernetes_lease import KubernetesLease

    return KubernetesLease(kubernetes_access(config), config.kubernetes_namespace)


def build_ledger(config: Config, *, read_only: bool = False) -> Ledger:
    """What outlives this process: a file in the state directory, or a database that several share."""
    return SqlLedger(ledger_place(config), read_only=read_only)


def ledger_place(config: Config) -> str | Path:
    """The URL of a server, or the path of a file."""
    return config.database_url or config.state_dir / "ledger.sqlite"


def served_simulators(config: Config) -> tuple[SimulatorName, ...]:
    return tuple(SimulatorName(name) for name in config.simulators)


def build_broker(config: Config, may_connect: Callable[[], Awaitable[None]]) -> Broker:
    """The MQTT edge with exactly the filters of the simulators that are served, and a last will for each of them."""
    simulators = served_simulators(config)
    online = lifecycle.mso_status(online=True, software_version=__version__)
    offline = lifecycle.mso_status(online=False, software_version=__version__)
    settings = replace(
        mqtt_settings(config),
        filters=topics.filters(simulators),
        wills=tuple(Presence(topics.status(so), online, offline) for so in simulators),
    )
    return MqttBroker(settings, may_connect)


def build_witness(config: Config, may_connect: Callable[[], Awaitable[None]], main: Broker) -> Witness:
    """A second session, which hears the ModelsReady that the first one publishes."""
    settings = replace(witness_settings(config), client_id=f"{config.mqtt_client_id}-witness")
    return Witness(MqttBroker(settings, may_connect), main, topics.nonce(config.mqtt_client_id))


def build_absentee(config: Config, may_connect: Callable[[], Awaitable[None]]) -> Absentee:
    """A third one, which makes the broker save what it has for the second."""
    settings = replace(witness_settings(config), client_id=f"{config.mqtt_client_id}-absentee")
    return Absentee(lambda: MqttBroker(settings, may_connect), topics.nonce(config.mqtt_client_id))


def witness_settings(config: Config) -> MqttSettings:
    """The filters of the witness."""
    filters = topics.witness_filters(served_simulators(config), config.mqtt_client_id)
    return replace(mqtt_settings(config), filters=filters)


def build_visitor(config: Config) -> Broker:
    """A connection of its own, for one message, beside a running service and other visitors."""
    client_id = f"{config.mqtt_client_id}-visitor-{secrets.token_hex(4)}"
    return MqttBroker(replace(mqtt_settings(config), client_id=client_id, persistent=False))


def mqtt_settings(config: Config) -> MqttSettings:
    """How to reach the broker, and as whom."""
    return MqttSettings(
        host=config.mqtt_host,
        port=config.mqtt_port,
        client_id=config.mqtt_client_id,
        username=config.mqtt_username,
        password=config.mqtt_password,
        tls_ca_file=config.mqtt_tls_ca_file,
        tls_cert_file=config.mqtt_tls_cert_file,
        tls_key_file=config.mqtt_tls_key_file,
    )


def build_backplane(config: Config, answered: Callable[[str, str], None] = lambda *_: None) -> Backplane:
    """Where models run; `answered` counts requests to its API.

    Raises ImagesError or PodTemplateError when an operator's file cannot be used.
    """
    match config.backplane, config.local_images:
        case "local", Path() as images:
            return LocalBackplane(config.state_dir, LocalImages.load(images))
        case "docker", _:
            return build_docker(config)
        case "kubernetes", _:
            return build_kubernetes(config, answered)
        case _:
            raise ValueError(f"no backplane {config.backplane!r}")


def build_docker(config: Config) -> Backplane:
    """Models as containers."""
    # Imported here, as the one of Kubernetes is.
    from mso.backplane.containers import ContainerSettings
    from mso.backplane.docker import DockerBackplane, DockerSettings

    return DockerBackplane(
        docker_address(config),
        DockerSettings(
            containers=ContainerSettings(
                project=config.docker_project,
                network=config.docker_network,
                restricted=config.pod_security == "restricted",
            ),
            pull_policy=config.pull_policy,
            image_pull_grace=config.image_pull_grace_seconds,
            resync_seconds=config.resync_seconds,
            concurrency=config.deploy_concurrency,
        ),
    )


def docker_address(config: Config) -> "Address":
    """Where the engine is."""
    from mso.backplane.docker_engine import Address

    return Address(
        host=config.docker_host,
        tls_verify=config.docker_tls_verify,
        cert_path=str(config.docker_cert_path or ""),
    )


def build_kubernetes(config: Config, answered: Callable[[str, str], None]) -> Backplane:
    """Models as pods. Raises PodTemplateError when the operator's template cannot be used."""
    # Imported here: the client takes 25 MB, which a laptop with local models need not spend.
    from mso.backplane.kubernetes import KubernetesBackplane, KubernetesSettings
    from mso.backplane.roster import Limits as PodLimits

    return KubernetesBackplane(
        kubernetes_access(config),
        KubernetesSettings(
            namespace=config.kubernetes_namespace,
            pods=pod_settings(config),
            limits=PodLimits(
                image_pull=config.image_pull_grace_seconds,
                pending=config.pending_timeout_seconds,
                node=config.node_lost_seconds,
                fatal_waits=frozenset(config.fatal_wait_reasons),
            ),
            resync_seconds=config.resync_seconds,
            concurrency=config.deploy_concurrency,
        ),
        answered,
    )


def pod_settings(config: Config) -> "PodSettings":
    """What pods look like. Raises PodTemplateError when the operator's template cannot be used."""
    from mso.backplane.pod_template import PodTemplate
    from mso.backplane.pods import PodSettings

    return PodSettings(
        restricted=config.pod_security == "restricted",
        pull_secret=config.pull_secret,
        pull_policy=config.pull_policy,
        template=PodTemplate.load(config.pod_template) if config.pod_template else PodTemplate(),
    )


def kubernetes_access(config: Config) -> "Access":
    """How to reach the API."""
    from mso.backplane.kubernetes_api import Access

    return Access(
        token=config.kubernetes_api_token,
        host=config.kubernetes_host,
        port=config.kubernetes_port,
        ca_file=config.kubernetes_ca_file,
        ca_data=config.kubernetes_ca_data,
        verify_tls=config.kubernetes_verify_tls,
        kubeconfig=config.kubeconfig,
        context=config.kubernetes_context,
    )
