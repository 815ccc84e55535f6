"""Following the containers of a project: one stream of events for speed, one listing every so often for truth.

- The first end that was seen of a container is the truth, whatever is done to it later.
- Nothing here gives up: trouble with the engine is waited out, said aloud once, and told by `perseverance`.
- A new stream is followed by a listing, so that what happened between two streams is not missed.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime

import structlog

from mso import recollection
from mso.backplane import BackplaneError, DeployError, Listed, Mark, Observation, Recollection
from mso.backplane.container_status import end_of, end_of_gone
from mso.backplane.containers import Container, Json, Notes, of_inspection, ours
from mso.backplane.docker_engine import Engine, RefusedError
from mso.backplane.docker_project import Project
from mso.backplane.identity import run_id
from mso.backplane.perseverance import Perseverance
from mso.model import NO_EXIT_CODE, Attempt, End, Failed, RunKey

log = structlog.get_logger()

BREATH = 100
"""After so many containers others have their turn."""


@dataclass(slots=True, eq=False)
class Entry:
    """One container, as far as it is known."""

    attempt: Attempt
    id: str
    recollection: str = field(repr=False)
    seen: float
    """time.monotonic() of the last proof that it was there."""
    is_unborn: bool = False
    """It was created and, as far as is known, not started."""
    end: End | None = None


class ContainerWatch:
    """Two loops, `keep_listing` and `keep_following`. What is news goes to `tell`, a whole listing to `tell_listed`.

    `crashed` is told of a bug in what is done beside them.
    """

    def __init__(
        self,
        engine: Engine,
        project: Project,
        resync_seconds: float,
        *,
        tell: Callable[[Observation], None],
        tell_listed: Callable[[Listed], Awaitable[None]],
        crashed: Callable[[asyncio.Task[None]], None],
    ) -> None:
        self._engine = engine
        self._project = project
        self._resync_seconds = resync_seconds
        self._tell = tell
        self._tell_listed = tell_listed
        self._crashed = crashed
        self._entries: dict[Attempt, Entry] = {}
        self._by_id: dict[str, Entry] = {}
        self._told: set[str] = set()
        """Ids of containers that we had end."""
        self._spared: set[str] = set()
        """Ids of containers that were to end, and had ended by themselves."""
        self._telling: dict[str, asyncio.Event] = {}
        self._marks: defaultdict[str, set[Mark]] = defaultdict(set)
        self._chores: dict[str, asyncio.Task[None]] = {}
        self._left: list[Entry] = []
        """Created by an earlier process, and not started."""
        self._list_now = asyncio.Event()
        self.perseverance = Perseverance(
            "containers",
            resync_seconds,
            troubled=lambda trouble: log.warning("docker.trouble", trouble=trouble, engine=str(engine.address)),
            well_again=lambda: log.info("docker.well_again", engine=str(engine.address)),
        )

    # -- what is known --------------------------------------------------------------------------------------------

    def get(self, attempt: Attempt) -> Entry | None:
        return self._entries.get(attempt)

    def is_told(self, container: str) -> bool:
        return container in self._told

    def see(self, container: Container) -> Entry:
        """It is there now."""
        entry = self._by_id.get(container.id)
        if entry is None:
            entry = Entry(container.attempt, container.id, container.recollection, 0.0, container.is_unborn)
            if before := self._entries.get(container.attempt):
                self._by_id.pop(before.id, None)
            self._entries[container.attempt] = self._by_id[container.id] = entry
        entry.seen = time.monotonic()
        entry.is_unborn = entry.is_unborn and container.is_unborn  # a listing may be older than its start
        return entry

    def settle(self, entry: Entry, end: End) -> None:
        """It has ended. Told once."""
        if entry.end is None:
            entry.end = end
            self._tell(self.observe(entry))

    def strike(self, entry: Entry) -> None:
        """It is gone for good."""
        self._by_id.pop(entry.id, None)
        self._told.discard(entry.id)
        self._spared.discard(entry.id)
        if self._entries.get(entry.attempt) is entry:
            del self._entries[entry.attempt]

    def strike_run(self, run: RunKey) -> None:
        """Nothing of the run is left."""
        for entry in [entry for attempt, entry in self._entries.items() if attempt.key.run_key == run]:
            self.strike(entry)
        self._marks.pop(run_id(run), None)

    def mark(self, run: RunKey, mark: Mark) -> None:
        self._marks[run_id(run)].add(mark)

    def observe(self, entry: Entry) -> Observation:
        return Observation(entry.attempt, entry.end, lambda: self._recall(entry))

    def _recall(self, entry: Entry) -> Recollection:
        try:
            model = recollection.decode(entry.recollection)
        except recollection.UnreadableModelError as error:
            raise BackplaneError(f"the labels of container {entry.id[:12]} cannot be read: {error}") from error
        return Recollection(model, frozenset(self._marks.get(run_id(entry.attempt.key.run_key), ())))

    # -- what an earlier process left -----------------------------------------------------------------------------

    async def start_left(self, start: Callable[[Entry], Awaitable[None]]) -> None:
        """Have what an earlier process created, and was killed before it could start, started; after a listing."""
        left, self._left = self._left, []
        for entry in left:
            if entry.is_unborn and self._entries.get(entry.attempt) is entry:
                try:
                    await start(entry)
                except DeployError as error:
                    self.settle(entry, Failed(NO_EXIT_CODE, error.reason, str(error)))
                except BackplaneError as error:
                    log.warning("docker.not_started", attempt=str(entry.attempt), error=str(error))
                    self._left.append(entry)

    # -- having a container end -----------------------------------------------------------------------------------

    async def have_end(self, container: str, act: Callable[[], Awaitable[None]]) -> None:
        """Do what ends it; an end that is seen meanwhile waits to be judged until it is clear who brought it about."""
        while others := self._telling.get(container):
            await others.wait()
        decided = self._telling[container] = asyncio.Event()
        was_told = container in self._told
        self._told.add(container)
        try:
            await act()
        except RefusedError as no:
            if no.status not in (404, 409):
                raise
            if not was_told:  # it was over, by itself
                self._told.discard(container)
                self._spared.add(container)
        finally:
            del self._telling[container]
            decided.set()

    # -- listing --------------------------------------------------------------------------------------------------

    async def keep_listing(self) -> None:
        while True:
            self._list_now.clear()  # before: who asks while a listing is on its way asks for the next one
            listed = await self.perseverance.persist("list", self._list)
            await self._tell_listed(listed)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._resync_seconds):
                    await self._list_now.wait()

    async def _list(self) -> Listed:
        """Notes first: a note whose run shows no container after that is of a run that is gone."""
        began = time.monotonic()
        notes = await self._project.notes()
        found = await self._project.list()
        self._told |= notes.told - self._spared
        self._read_marks(notes)
        over = []
        for container in found:
            entry = self.see(container)
            if entry.end is None and not container.lives and not container.is_unborn:
                over.append(entry)
        await asyncio.gather(*(self.look_at(entry) for entry in over))
        ids = {container.id for container in found}
        for entry in list(self._entries.values()):
            if entry.id not in ids and entry.seen < began:
                self.strike(entry)
        if not self.perseverance.has_listed:
            # With nothing listed yet nobody here has deployed these: an earlier process was killed in the middle.
            self._left = [entry for entry in self._entries.values() if entry.is_unborn]
            await self._clear_away(notes, {run_id(container.attempt.key.run_key) for container in found})
        for number, entry in enumerate(list(self._entries.values()), start=1):
            self._tell(self.observe(entry))
            if number % BREATH == 0:
                await asyncio.sleep(0)
        self.perseverance.listed()
        return Listed(began, frozenset(self._entries))

    def _read_marks(self, notes: Notes) -> None:
        for run, marks in notes.marks.items():
            self._marks[run] |= marks

    async def _clear_away(self, notes: Notes, runs: set[str]) -> None:
        """What a removal left behind that was interrupted: a run that comes later is not to have it."""
        for run, names in notes.names.items():
            if run not in runs:
                self._marks.pop(run, None)
                for name in names:
                    await self._project.forget(name)

    async def look_at(self, entry: Entry) -> None:
        """See how it stands, and tell if it has ended. Raises BackplaneError."""
        if telling := self._telling.get(entry.id):
            await telling.wait()
        try:
            inspected = await self._project.inspect(entry.id)
        except RefusedError as no:
            if no.status != 404:
                raise
            return  # it goes just now: the engine says so
        if container := of_inspection(inspected, self._project.name):
            self.see(container)
        if end := end_of(inspected, told=entry.id in self._told):
            self.settle(entry, end)

    # -- following ------------------------------------------------------------------------------------------------

    async def keep_following(self) -> None:
        while True:
            await self.perseverance.persist("follow", self._follow)

    async def _follow(self) -> None:
        filters = {"type": ["container"], "event": ["die", "destroy"], "label": ours(self._project.name)}
        async with self._engine.events(filters) as events:
            self.perseverance.is_well("follow")
            self._list_now.set()
            async for event in events:
                self._hear(event)

    def _hear(self, event: Json) -> None:
        entry = self._by_id.get(event["Actor"]["ID"])
        if entry is None or entry.end is not None:
            if entry and event["Action"] == "destroy":
                self.strike(entry)
            return
        before = self._chores.get(entry.id)
        if event["Action"] == "die":
            attributes = event["Actor"].get("Attributes") or {}
            died_at = datetime.fromtimestamp(event["timeNano"] / 1e9, UTC)
            self._chore(entry, self._has_died(entry, before, int(attributes["exitCode"]), died_at))
        else:
            self._chore(entry, self._has_gone(entry, before))

    async def _has_died(self, entry: Entry, before: asyncio.Task[None] | None, code: int, died_at: datetime) -> None:
        await _after(before)
        try:
            await self.look_at(entry)
        except BackplaneError as error:
            log.warning("docker.end_unread", attempt=str(entry.attempt), error=str(error))
            self._list_now.set()
        else:
            if entry.end is None and self._by_id.get(entry.id) is entry:
                await self._find_out_late(entry, code, died_at)

    async def _find_out_late(self, entry: Entry, code: int, died_at: datetime) -> None:
        """It has died, and yet the engine did not show how: it is gone already; or somebody started it again."""
        try:
            await self._project.inspect(entry.id)
        except RefusedError as no:
            if no.status == 404:
                self.settle(entry, end_of_gone(code, None if entry.id in self._told else died_at))
        except BackplaneError:
            self._list_now.set()

    async def _has_gone(self, entry: Entry, before: asyncio.Task[None] | None) -> None:
        await _after(before)
        self.settle(entry, end_of_gone(None, None))
        self.strike(entry)

    def _chore(self, entry: Entry, work: Coroutine[None, None, None]) -> None:
        """Beside the stream, and after what was begun for this container before."""
        chore = self._chores[entry.id] = asyncio.create_task(work, name=f"judge {entry.attempt}")
        chore.add_done_callback(lambda done: self._chore_done(entry.id, done))

    def _chore_done(self, container: str, chore: asyncio.Task[None]) -> None:
        if self._chores.get(container) is chore:
            del self._chores[container]
        self._crashed(chore)

    async def close(self) -> None:
        chores = list(self._chores.values())
        for chore in chores:
            chore.cancel()
        await asyncio.gather(*chores, return_exceptions=True)


async def _after(before: asyncio.Task[None] | None) -> None:
    if before:
        await asyncio.wait((before,))
