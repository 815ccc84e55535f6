"""The doctor: looks at everything that MSO needs, as MSO would use it, and disturbs none that runs.

What is looked at, and how, each edge says itself (mso/checkup.py). Here is what of it a configuration asks for; all of
that is looked at at once, and it ends in time. Beside mso/edges.py only this names concrete edges.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING

from mso import edges, supervision
from mso.backplane import local_checks
from mso.backplane.pod_template import PodTemplateError
from mso.broker import checks as broker_checks
from mso.checkup import Checks, Finding, Unawaited, ok, warning, wrong
from mso.config import Config
from mso.ledger import checks as ledger_checks
from mso.protocol import topics

if TYPE_CHECKING:
    from mso.backplane.kubernetes_api import Access
    from mso.backplane.pods import PodSettings

CONFIGURATION = "configuration"
GROUP_SECONDS = 12.0
"""For all checks of one edge together; edges are looked at at the same time."""


async def examine(config: Config, *, seconds: float = GROUP_SECONDS) -> AsyncIterator[Finding]:
    """Everything that is found, edge by edge in a fixed order, as soon as it is known."""
    asyncio.get_running_loop().set_default_executor(Unawaited())
    found: list[asyncio.Queue[Finding | None]] = []
    tasks = []
    for name, checks in all_checks(config).items():
        queue: asyncio.Queue[Finding | None] = asyncio.Queue()
        found.append(queue)
        tasks.append(asyncio.create_task(_look(name, checks, queue, seconds), name=f"look at the {name}"))
    try:
        for queue in found:
            while (finding := await queue.get()) is not None:
                yield finding
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def all_checks(config: Config) -> Mapping[str, Checks]:
    """What there is to be looked at, by the name of its edge."""
    simulators = edges.served_simulators(config)
    nonce = topics.nonce(config.mqtt_client_id)
    guest = replace(
        edges.mqtt_settings(config),
        filters=(*topics.filters(simulators), *topics.witness_filters(simulators, config.mqtt_client_id)),
    )
    return {
        CONFIGURATION: _configuration(config),
        "broker": broker_checks.check(guest, nonce),
        "backplane": _backplane(config),
        "ledger": ledger_checks.check(edges.ledger_place(config), config.state_dir),
        "HTTP port": supervision.check(config.http_port),
    }


def _backplane(config: Config) -> Checks:
    """A backplane has its checks in a module beside it."""
    match config.backplane:
        case "local":
            assert config.local_images
            return local_checks.check(config.local_images, config.state_dir / "lease")
        case "kubernetes":
            # Imported here, as the client takes 25 MB and a moment; and now, as later it would hold up the other edges.
            from mso.backplane import kubernetes_checks

            return _kubernetes(config, kubernetes_checks.check)
        case "docker":
            from mso.backplane import docker_checks

            return docker_checks.check(edges.docker_address(config), config.docker_project, config.docker_network)
        case other:
            raise ValueError(f"no backplane {other!r}")


async def _kubernetes(config: Config, check: "Callable[[Access, str, PodSettings], Checks]") -> Checks:
    from mso.backplane.pods import PodSettings

    try:
        pods = edges.pod_settings(config)
    except PodTemplateError as error:
        yield wrong("pod template", "; ".join(str(error).splitlines()), "mend the file in MSO_POD_TEMPLATE_FILE")
        pods = PodSettings(pull_secret=config.pull_secret, restricted=config.pod_security == "restricted")
    if not config.kubernetes_verify_tls:
        yield warning(
            "cluster security",
            "KUBERNETES_VERIFY_TLS=false: whoever is in between can read every secret",
            "set KUBERNETES_CA_FILE or KUBERNETES_CA_DATA, and verify again",
        )
    async with aclosing(check(edges.kubernetes_access(config), config.kubernetes_namespace, pods)) as findings:
        async for finding in findings:
            yield finding


async def _configuration(config: Config) -> Checks:
    simulators = ", ".join(config.simulators)
    yield ok(CONFIGURATION, f"for {simulators}, with models on the backplane {config.backplane}")


async def _look(edge: str, checks: Checks, found: "asyncio.Queue[Finding | None]", seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds), aclosing(checks):
            async for finding in checks:
                found.put_nowait(finding)
    except TimeoutError:
        found.put_nowait(
            wrong(edge, f"not all of it could be looked at within {seconds:g} s", "see what hangs, and look again")
        )
    except Exception as error:  # noqa: BLE001 - the other edges have their turn
        found.put_nowait(wrong(edge, f"the look at it failed: {error!r}", "a bug: please report it"))
    finally:
        found.put_nowait(None)
