"""Models as containers on a Docker engine: a translator and a pipe.

What a container is and what its state means is said by pure functions (containers.py, container_status.py); what is
known of all of them is kept by the watch (docker_watch.py). Here is what is asked of the engine.

- A container ends by a signal and stays for its log; it goes with its run. One that never began goes at once.
- Before a container is told to end, that is noted beside it: whoever comes after a kill tells such an end from one that
  the model came to by itself. The notes and the marks of a run are empty volumes (ADR 15).
"""

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Self
from weakref import WeakValueDictionary

import structlog

from mso import recollection
from mso.backplane import BackplaneError, Capabilities, DeployError, Listed, Mark, Observation
from mso.backplane.container_status import complaints_of
from mso.backplane.containers import (
    DEFAULT_SIGNAL,
    Container,
    ContainerSettings,
    Json,
    container_config,
    container_name,
    is_of_same_order,
    is_root,
    mark_volume,
    of_inspection,
    told_volume,
)
from mso.backplane.docker_engine import Address, Engine, RefusedError, UnusableError, create
from mso.backplane.docker_project import Project
from mso.backplane.docker_watch import ContainerWatch, Entry
from mso.backplane.identity import recollection_in, run_id
from mso.backplane.image_pulls import ImagePulls
from mso.backplane.lines import last_lines
from mso.backplane.news import News
from mso.model import Attempt, Model, Reason, RunKey
from mso.patience import pauses

log = structlog.get_logger()

KILLED_SECONDS = 20.0
"""How long the engine may take to end what got SIGKILL, and to delete what it was told to."""
LONG_LINES = 64
"""The engine cuts lines into pieces of 16 KiB, and counts these: so many more make a MiB."""
_HEALTH_SECONDS = 4.0

_NO_GPU = "could not select device driver"
_NO_ROOM = "oom-killed"
"""What the engine says where a memory limit is too small for anything to begin."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DockerSettings:
    """What an operator sets. Spans are in seconds."""

    containers: ContainerSettings = field(default_factory=ContainerSettings)
    pull_policy: str = ""
    """Always, Never; otherwise an image is pulled when the engine lacks it."""
    image_pull_grace: float = 60.0
    resync_seconds: float = 30.0
    terminate_grace_seconds: float = 10.0
    """Between SIGTERM and SIGKILL."""
    concurrency: int = 32
    """Calls of the engine that may be under way at once."""


class DockerBackplane:
    """Runs models as containers."""

    capabilities = Capabilities(command=True, resources=True, secrets=False)

    def __init__(self, address: Address, settings: DockerSettings) -> None:
        self._settings = settings
        self._engine = Engine(address, settings.concurrency)
        self._project = Project(self._engine, settings.containers.project)
        self._pulls = ImagePulls(self._engine, settings.image_pull_grace)
        self._turns: WeakValueDictionary[Attempt, asyncio.Lock] = WeakValueDictionary()
        self._news = News()
        self._watch = ContainerWatch(
            self._engine,
            self._project,
            settings.resync_seconds,
            tell=self._news.tell,
            tell_listed=self._tell_listed,
            crashed=self._news.crashed,
        )

    async def __aenter__(self) -> Self:
        """Raises BackplaneError when the engine cannot be used as it is configured. One that is away is waited for."""
        try:
            await self._engine.probe(_HEALTH_SECONDS)
            await self._find_network()
        except UnusableError:
            raise
        except BackplaneError as error:
            self._watch.perseverance.has_trouble("list", error)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._pulls.close()
        await self._watch.close()

    async def _find_network(self) -> None:
        network = self._settings.containers.network
        try:
            if network:
                await self._engine.call(lambda client: client.inspect_network(network))
        except RefusedError as no:
            raise UnusableError(f"MSO_DOCKER_NETWORK: {no}; to make it: docker network create {network}") from no

    # -- deploying ------------------------------------------------------------------------------------------------

    async def deploy(self, model: Model) -> None:
        """Create and start the container of the model's current attempt; see Backplane.deploy.

        Where no answer came either may have happened all the same: then that is found, the next time. A container that
        has begun once is never started again.
        """
        async with self._turns.setdefault(model.current, asyncio.Lock()):
            known = self._watch.get(model.current)
            if known is None or known.is_unborn or known.recollection != recollection.encode(model):
                container = await self._created(model)
                entry = self._watch.see(container)
                if container.is_unborn:
                    await self._start(entry)

    async def _created(self, model: Model) -> Container:
        config = container_config(model, self._settings.containers)
        image = model.spec.image
        if self._settings.pull_policy == "Always" and await self._project.named(model.current) is None:
            await self._pulls.have(model.current, image)
        try:
            return await self._create(model, config)
        except RefusedError as no:
            if not no.lacks_image:
                raise
            if self._settings.pull_policy == "Never":
                raise DeployError(Reason.IMAGE_PULL_FAILED, f"{no}, and MSO_IMAGE_PULL_POLICY is Never") from no
        await self._pulls.have(model.current, image)
        return await self._create(model, config)

    async def _create(self, model: Model, config: Json) -> Container:
        name = container_name(self._project.name, model.current)
        try:
            identifier = await self._engine.call(lambda client: create(client, name, config))
        except RefusedError as no:
            if no.status == 409:
                return await self._make_sure_of(model)
            if no.lacks_image or _may_pass(no):
                raise
            pull = "invalid reference format" in str(no)
            raise DeployError(Reason.IMAGE_PULL_FAILED if pull else Reason.DEPLOY_FAILED, _named(no, model)) from no
        container = Container(model.current, identifier, "created", recollection_in(config["Labels"]))
        await self._refuse_root(container, model)
        return container

    async def _make_sure_of(self, model: Model) -> Container:
        """The container that is there already is the one that is wanted; or it was left behind, and is deleted now.

        Raises DeployError if it is in the way and not ours to delete, BackplaneError if it was.
        """
        name = container_name(self._project.name, model.current)
        inspected = await self._project.named(model.current)
        if inspected is None or inspected["State"]["Status"] in ("removing", "dead"):
            raise BackplaneError(f"container {name} is being deleted")
        container = of_inspection(inspected, self._project.name)
        if container is None:
            raise DeployError(Reason.DEPLOY_FAILED, f"a container {name} is there already, and it is not ours")
        if is_of_same_order(container, model):
            if container.is_unborn:
                await self._refuse_root(container, model)
            return container
        if container.lives:
            raise DeployError(Reason.DEPLOY_FAILED, f"a container {name} of another request lives")
        await self._project.delete(container.id)
        raise BackplaneError(f"container {name}, left of an earlier request, is being deleted")

    async def _refuse_root(self, container: Container, model: Model) -> None:
        """With MSO_POD_SECURITY=restricted. Raises DeployError."""
        if not self._settings.containers.restricted:
            return
        inspected = await self._project.inspect(container.id)
        if is_root(inspected["Config"]["User"]):
            await self._project.delete(container.id)
            raise DeployError(
                Reason.DEPLOY_FAILED, f"image {model.spec.image} runs as root, and MSO_POD_SECURITY is restricted"
            )

    async def _start(self, entry: Entry) -> None:
        try:
            await self._engine.call(lambda client: client.start(entry.id))
        except RefusedError as no:
            final = _end_of_start(no)
            if final is None:
                raise
            await self._project.delete(entry.id)
            self._watch.strike(entry)
            raise final from no
        entry.is_unborn = False

    async def _start_left(self, entry: Entry) -> None:
        async with self._turns.setdefault(entry.attempt, asyncio.Lock()):
            found = await self._project.find(entry.attempt)
            if found and found.id == entry.id and found.is_unborn:
                await self._start(entry)

    # -- watching -------------------------------------------------------------------------------------------------

    async def watch(self) -> AsyncIterator[Observation | Listed]:
        """Everything, then what ends, then everything again; see Backplane.watch."""
        loops = {
            "list-containers": self._watch.keep_listing(),
            "follow-containers": self._watch.keep_following(),
        }
        async with aclosing(self._news.of(loops)) as told:
            async for news in told:
                yield news

    async def _tell_listed(self, listed: Listed) -> None:
        await self._news.tell_listed(listed)
        await self._watch.start_left(self._start_left)

    # -- reading --------------------------------------------------------------------------------------------------

    async def tail(self, attempt: Attempt, lines: int) -> tuple[str, ...]:
        if lines <= 0:
            return ()
        try:
            found = await self._project.find(attempt)
            if found is None:
                raise BackplaneError(f"there is no container {container_name(self._project.name, attempt)}")
            data: bytes = await self._engine.call(
                lambda client: client.logs(found.id, stdout=True, stderr=True, tail=lines + LONG_LINES)
            )
        except BackplaneError as error:
            raise BackplaneError(f"no log of {attempt}: {error}") from error
        return last_lines(data, lines)

    async def warnings(self, attempt: Attempt) -> tuple[str, ...]:
        """What the engine says of its start, and of processes in it that ran out of memory."""
        inspected = await self._project.named(attempt)
        return complaints_of(inspected) if inspected and of_inspection(inspected, self._project.name) else ()

    # -- removing -------------------------------------------------------------------------------------------------

    async def remove(self, attempt: Attempt) -> None:
        """The container ends; its log stays until the run is removed."""
        self._pulls.forget(attempt)
        found = await self._project.find(attempt)
        if found is not None:
            await self._end(attempt.key.run_key, [found])

    async def stop_run(self, run: RunKey) -> None:
        await self._end(run, await self._project.list(run))

    async def remove_run(self, run: RunKey) -> None:
        await self.stop_run(run)
        for pause in pauses(first=0.1, cap=1.0, within=KILLED_SECONDS):
            left = await self._project.list(run)
            if not left:
                break
            await asyncio.gather(*(self._project.delete(container.id) for container in left))
            await asyncio.sleep(pause)
        else:
            raise BackplaneError(f"containers of {run} are still being deleted")
        # Last: a kill in between must not leave containers without the marks of their run.
        for volume in (await self._project.notes(run)).names.get(run_id(run), ()):
            await self._project.forget(volume)
        self._watch.strike_run(run)

    async def _end(self, run: RunKey, containers: Collection[Container]) -> None:
        """When this returns none of these lives. Raises BackplaneError."""
        unborn = [container for container in containers if container.is_unborn]
        gone = await asyncio.gather(*(self._project.delete_unborn(container.id) for container in unborn))
        living = [container for container in containers if container.lives]
        living += [container for container, is_gone in zip(unborn, gone, strict=True) if not is_gone]
        untold = [container.id for container in living if not self._watch.is_told(container.id)]
        if untold:
            await self._project.note(told_volume(self._project.name, run, untold))
        grace = self._settings.terminate_grace_seconds
        await asyncio.gather(*(self._signal(container, "") for container in living))
        left = await self._still_living(run, living, grace) if living else []
        if left:
            await asyncio.gather(*(self._signal(container, "SIGKILL") for container in left))
            left = await self._still_living(run, left, KILLED_SECONDS)
        if left:
            raise BackplaneError(f"containers of {run} survive SIGKILL: {', '.join(one.id[:12] for one in left)}")

    async def _still_living(self, run: RunKey, containers: Collection[Container], within: float) -> list[Container]:
        """Those of them that still live when the time is over, or none before."""
        ids = {container.id for container in containers}
        left = list(containers)
        for pause in pauses(first=0.05, cap=0.5, within=within):
            left = [one for one in await self._project.list(run) if one.id in ids and (one.lives or one.is_unborn)]
            if not left:
                break
            await asyncio.sleep(pause)
        return left

    async def _signal(self, container: Container, signal: str) -> None:
        """Send it, or else the one that its image wants to be stopped with. One that has ended is left as it is."""

        async def kill() -> None:
            name = signal
            if not name:
                inspected = await self._project.inspect(container.id)
                name = inspected["Config"].get("StopSignal") or DEFAULT_SIGNAL
            await self._engine.call(lambda client: client.kill(container.id, name))

        await self._watch.have_end(container.id, kill)

    # -- marks and health -----------------------------------------------------------------------------------------

    async def mark(self, run: RunKey, mark: Mark) -> None:
        if await self._project.list(run):
            await self._project.note(mark_volume(self._project.name, run, mark))
            self._watch.mark(run, mark)

    async def health(self) -> tuple[str, ...]:
        try:
            await self._engine.probe(_HEALTH_SECONDS)
        except BackplaneError as error:
            return (str(error),)
        return self._watch.perseverance.troubles()


def _may_pass(no: RefusedError) -> bool:
    """Whether the engine may say yes later: it is busy, ails, or has no room."""
    return no.status in (408, 409, 429) or no.status >= 500


def _end_of_start(no: RefusedError) -> DeployError | None:
    """Why this container can never be started; None where it may be later."""
    words = str(no)
    if _NO_GPU in words and "gpu" in words:
        return DeployError(Reason.UNSCHEDULABLE, f"this engine has no GPUs for containers: {words}")
    if _NO_ROOM in words.lower():
        return DeployError(Reason.OOM_KILLED, f"its memory limit is too small to begin: {words}")
    if no.status == 404 and "network" not in words:
        return None  # the container itself is gone: the next try makes another one
    return None if _may_pass(no) else DeployError(Reason.DEPLOY_FAILED, words)


def _named(no: RefusedError, model: Model) -> str:
    image = model.spec.image
    return str(no) if image in str(no) else f"{no} (image {image})"
