"""What can be seen of a Docker engine with MSO's own means: whether it serves, what time it is there, whose it is."""

import asyncio
from collections.abc import Awaitable
from datetime import UTC, datetime

from mso.backplane import BackplaneError
from mso.backplane.clocks import CLOCK, judge_clock
from mso.backplane.containers import Json
from mso.backplane.docker_engine import Address, Engine, RefusedError
from mso.backplane.docker_lease import claimant
from mso.checkup import CALL_SECONDS, Checks, Finding, Grade, ok, skipped, timed, warning, wrong
from mso.wording import one_line

ENGINE = "Docker engine"
LIMITS = "limits of containers"
NETWORK = "network of models"
ACTIVE = "active MSO"

_LIMITS = {"MemoryLimit": "memory", "CpuCfsQuota": "CPU", "PidsLimit": "processes"}
"""What an engine says that it can hold a container to; without it the limit of a request means nothing there."""


async def check(address: Address, project: str, network: str) -> Checks:
    """Everything about the engine, and about the project on it. An empty `network` is the engine's own bridge."""
    engine = Engine(address)
    sent = datetime.now(UTC)
    try:
        async with asyncio.timeout(CALL_SECONDS):
            about: Json = await engine.call(lambda client: client.info(), seconds=CALL_SECONDS)
    except (BackplaneError, TimeoutError) as error:
        why = str(error) or f"the engine at {address} does not answer"
        yield wrong(ENGINE, why, "start it, or set DOCKER_HOST; see docs/docker.md, Access")
        return
    received = datetime.now(UTC)
    yield ok(
        ENGINE,
        f"{address} answers: Docker {one_line(about.get('ServerVersion'))}, {about.get('NCPU')} CPUs, "
        f"{int(about.get('MemTotal') or 0) / 2**30:.1f} GiB of memory",
    )
    told = about.get("SystemTime")
    yield (
        judge_clock("engine", sent, datetime.fromisoformat(told), received)
        if told
        else skipped(CLOCK, "the engine does not say what time it is there")
    )
    yield _limits(about)
    yield await timed(NETWORK, _seen(NETWORK, _network(engine, network)))
    yield await timed(ACTIVE, _seen(ACTIVE, _active(engine, project)))


def _limits(about: Json) -> Finding:
    lacking = [name for key, name in _LIMITS.items() if not about.get(key)]
    if lacking:
        return warning(
            LIMITS,
            f"this engine limits no {', no '.join(lacking)}: what a request says of it means nothing here",
            "give its kernel the control groups that it misses: docker info names them",
        )
    return ok(LIMITS, f"{', '.join(_LIMITS.values())}")


async def _network(engine: Engine, network: str) -> Finding:
    if not network:
        return ok(NETWORK, "the engine's own bridge")
    try:
        await engine.call(lambda client: client.inspect_network(network), seconds=CALL_SECONDS)
    except RefusedError as no:
        return wrong(NETWORK, one_line(no), f"docker network create {network}, or set MSO_DOCKER_NETWORK")
    return ok(NETWORK, network)


async def _active(engine: Engine, project: str) -> Finding:
    holder = await claimant(engine, project)
    if not holder:
        return ok(ACTIVE, f"none has ever been active for the project {project}")
    return ok(ACTIVE, f"{one_line(holder)} was the last to be active for the project {project}")


async def _seen(check: str, look: Awaitable[Finding]) -> Finding:
    """What a look finds, or why it could not."""
    try:
        return await look
    except BackplaneError as error:
        return Finding(check, Grade.WRONG, one_line(error), "see what the engine ails")
