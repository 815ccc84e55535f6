"""The service: edges built from the configuration, every loop in one TaskGroup. Only this names concrete edges.

If one loop dies, all stop and the error travels up: restart, not threads, is the answer to the unknown error.
"""

import asyncio
from collections.abc import Iterable
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path

import structlog

from mso import __version__
from mso.aside import Aside
from mso.backplane import Backplane
from mso.backplane.images import LocalImages
from mso.backplane.local import LocalBackplane
from mso.broker import Broker
from mso.broker.mqtt import MqttBroker, MqttSettings, Presence
from mso.changes import Observer
from mso.config import Config
from mso.intake import Intake
from mso.inventory import Inventory
from mso.model import SimulatorName
from mso.observers.metrics import Metrics
from mso.observers.narrate import narrate
from mso.observers.post_mortem import PostMortem
from mso.observers.report import Report
from mso.orchestrator import Limits, Orchestrator
from mso.outbox import Outbox
from mso.protocol import lifecycle, topics
from mso.pulse import Pulse
from mso.supervision import surface

log = structlog.get_logger()

HAND_OVER_SECONDS = 5.0
"""How long a shutdown waits for what is still to be deployed and to be sent."""


class Service:
    """One MSO. Whoever brings the inventory may observe it."""

    def __init__(self, config: Config, inventory: Inventory | None = None) -> None:
        self._config = config
        self._simulators = tuple(SimulatorName(name) for name in config.simulators)
        self._broker = build_broker(config)
        self._backplane = build_backplane(config)
        self._outbox = Outbox()
        self._pulse = Pulse()
        self._stopping = asyncio.Event()
        max_active = config.max_active_pods or None
        self._inventory = inventory or Inventory(max_models=max_active)
        self._metrics = Metrics(self._inventory, self._outbox)
        self._metrics.waiting = lambda: self._orchestrator.deployment.waiting
        self._metrics.broker_connected = lambda: self._broker.connection is not None
        self._orchestrator = Orchestrator(
            self._inventory,
            self._backplane,
            Limits(
                deploy_concurrency=config.deploy_concurrency,
                deploy_timeout=timedelta(seconds=config.deploy_timeout_seconds),
                ready_timeout=timedelta(seconds=config.ready_timeout_seconds) or None,
                stop_grace=timedelta(seconds=config.stop_grace_seconds),
                max_active=max_active,
            ),
            step=self._pulse.step,
            deployed=self._metrics.deployed,
            listed=self._metrics.note_listing,
            settled=lambda run: self._post_mortem.settled(run),
        )
        self._report = Report(
            self._broker,
            self._outbox,
            self._metrics,
            step=self._pulse.step,
            mark=self._orchestrator.mark,
            reported=self._orchestrator.reported,
            send_error_occurred=config.send_error_occurred,
        )
        self._post_mortem = PostMortem(
            self._backplane,
            step=self._pulse.step,
            release=self._report.release,
            examined=self._orchestrator.examined,
        )
        self._intake = Intake(
            self._inventory,
            self._simulators,
            self._backplane.capabilities,
            Aside(config.state_dir / "aside"),
            max_message_bytes=config.max_message_bytes,
            reject=self._report.reject,
            mark=self._backplane.mark,
            refused=self._metrics.refused,
            step=self._pulse.step,
        )
        observers: Iterable[Observer] = (
            narrate,
            self._metrics.observe,
            self._report.observe,
            self._post_mortem.observe,
            self._orchestrator.observe,
        )
        for observer in observers:
            self._inventory.subscribe(observer)

    def stop(self) -> None:
        """Ask for a clean end (SIGTERM, SIGINT): models are left running."""
        self._stopping.set()

    async def run(self) -> None:
        """Serve until `stop`. Raises an ExceptionGroup when a loop died, BackplaneError when there is no beginning."""
        log.info("service.starting", version=__version__, **self._config.shown())
        async with AsyncExitStack() as edges:
            await edges.enter_async_context(self._backplane)
            if self._config.http_port:
                await edges.enter_async_context(
                    surface(
                        self._config.http_port, livez=self._livez, readyz=self._readyz, metrics=self._metrics.exposition
                    )
                )
            await edges.enter_async_context(self._broker)
            async with asyncio.TaskGroup() as group:
                loops = [
                    group.create_task(loop, name=name)
                    for name, loop in {
                        "watch-models": self._orchestrator.watch_models(),
                        "take-orders": self._intake.take_orders(self._broker, self._orchestrator.recovered.wait),
                        "deploy-models": self._orchestrator.deployment.deploy_models(),
                        "sweep-expired": self._orchestrator.sweep_expired(),
                        "do-chores": self._orchestrator.do_chores(),
                        "post-mortem": self._post_mortem.run(),
                        "mark-runs": self._report.mark_runs(),
                        "send": self._report.send(),
                    }.items()
                ]
                await self._stopping.wait()
                await self._hand_over()
                for loop in loops:
                    loop.cancel()
        log.info("service.stopped")

    async def _hand_over(self) -> None:
        log.info("service.stopping", waiting_to_be_sent=len(self._outbox))
        await self._broker.stop_intake()
        try:
            async with asyncio.timeout(HAND_OVER_SECONDS):
                await self._orchestrator.deployment.all_deployed()
                await self._report.emptied()
        except TimeoutError:
            log.error(
                "service.left_undone",
                waiting_to_be_sent=len(self._outbox),
                waiting_to_be_deployed=self._orchestrator.deployment.undeployed,
            )

    async def _livez(self) -> tuple[str, ...]:
        return tuple(f"loop {loop} does not turn" for loop in self._pulse.stalled())

    async def _readyz(self) -> tuple[str, ...]:
        wrong = list(await self._backplane.health())
        if self._broker.connection is None:
            wrong.append("the broker is not connected")
        if not self._orchestrator.recovered.is_set():
            wrong.append("what runs has not been listed yet")
        if self._intake.trouble:
            wrong.append(self._intake.trouble)
        return tuple(wrong)


def build_broker(config: Config) -> Broker:
    """The MQTT edge with exactly the filters of the simulators that are served, and a last will for each of them."""
    simulators = tuple(SimulatorName(name) for name in config.simulators)
    online = lifecycle.mso_status(online=True, software_version=__version__)
    offline = lifecycle.mso_status(online=False, software_version=__version__)
    return MqttBroker(
        MqttSettings(
            host=config.mqtt_host,
            port=config.mqtt_port,
            client_id=config.mqtt_client_id,
            username=config.mqtt_username,
            password=config.mqtt_password,
            tls_ca_file=config.mqtt_tls_ca_file,
            tls_cert_file=config.mqtt_tls_cert_file,
            tls_key_file=config.mqtt_tls_key_file,
            filters=topics.filters(simulators),
            wills=tuple(Presence(topics.status(so), online, offline) for so in simulators),
        )
    )


def build_backplane(config: Config) -> Backplane:
    """Where models run. Raises ImagesError or PodTemplateError when an operator's file cannot be used."""
    match config.backplane, config.local_images:
        case "local", Path() as images:
            return LocalBackplane(config.state_dir, LocalImages.load(images))
        case "kubernetes", _:
            return build_kubernetes(config)
        case _:
            raise ValueError(f"no backplane {config.backplane!r}")


def build_kubernetes(config: Config) -> Backplane:
    """Models as pods. Raises PodTemplateError when the operator's template cannot be used."""
    # Imported here: the client takes 25 MB, which a laptop with local models need not spend.
    from mso.backplane.kubernetes import KubernetesBackplane, KubernetesSettings
    from mso.backplane.kubernetes_api import Access
    from mso.backplane.pod_template import PodTemplate
    from mso.backplane.pods import PodSettings
    from mso.backplane.roster import Limits as PodLimits

    return KubernetesBackplane(
        Access(
            token=config.kubernetes_api_token,
            host=config.kubernetes_host,
            port=config.kubernetes_port,
            ca_file=config.kubernetes_ca_file,
            ca_data=config.kubernetes_ca_data,
            verify_tls=config.kubernetes_verify_tls,
            kubeconfig=config.kubeconfig,
            context=config.kubernetes_context,
        ),
        KubernetesSettings(
            namespace=config.kubernetes_namespace,
            pods=PodSettings(
                restricted=config.pod_security == "restricted",
                pull_secret=config.pull_secret,
                pull_policy=config.pull_policy,
                template=PodTemplate.load(config.pod_template) if config.pod_template else PodTemplate(),
            ),
            limits=PodLimits(
                image_pull=config.image_pull_grace_seconds,
                pending=config.pending_timeout_seconds,
                node=config.node_lost_seconds,
                fatal_waits=frozenset(config.fatal_wait_reasons),
            ),
            resync_seconds=config.resync_seconds,
            concurrency=config.deploy_concurrency,
        ),
    )
