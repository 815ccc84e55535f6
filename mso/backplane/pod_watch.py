"""Following the pods of a namespace: one list and one watch however many there are; the roster takes it in.

- Watching is for speed, listing is for truth: everything is listed again every so often, whatever the watch does, so
  that staleness is bounded (faults K1, K2, K3).
- Nothing here gives up: trouble with the API is waited out, said aloud once, and told by `troubles`.

https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress

import structlog

from mso.backplane import Listed
from mso.backplane.kubernetes_api import Json, KubernetesApi, RefusedError, parse
from mso.backplane.perseverance import Perseverance
from mso.backplane.pod_json import METADATA_ONLY, read_event, read_page, read_versions
from mso.backplane.pods import OURS, Pod
from mso.backplane.roster import Entry, Roster

log = structlog.get_logger()

PAGE = 250
"""Pods a page of a listing: more would hold up the loop while they are parsed (fault K6)."""
BREATH = 100
"""After so many pods others have their turn: a listing is long, and nobody is to wait for it."""
WATCH_SECONDS = 280.0
"""How long the API lets one watch last."""
SILENCE_SECONDS = 90.0
"""A watch without a byte for so long is dead: bookmarks come every minute (fault K3)."""

_GONE = 410

_Page = tuple[Json, list[str]]
"""The metadata of one page of a listing, which has been taken in, and the uids in it."""


class _ExpiredError(Exception):
    """The API no longer knows the version that the watch wants to go on from: list again."""


class PodWatch:
    """Two loops, `keep_listing` and `keep_following`. What is news goes to `tell`, a whole listing to `tell_listed`."""

    def __init__(
        self,
        api: KubernetesApi,
        path: str,
        roster: Roster,
        resync_seconds: float,
        *,
        tell: Callable[[Entry], None],
        tell_listed: Callable[[Listed], Awaitable[None]],
    ) -> None:
        self._api = api
        self._path = path
        self._roster = roster
        self._resync_seconds = resync_seconds
        self._tell = tell
        self._tell_listed = tell_listed
        self._version = ""
        """Where the watch goes on from; empty until there is a listing to go on from."""
        self._has_version = asyncio.Event()
        self._list_now = asyncio.Event()
        self._listing = Listed(0.0, frozenset())
        self._perseverance = Perseverance(
            "pods",
            resync_seconds,
            troubled=lambda trouble: log.warning("kubernetes.trouble", trouble=trouble, host=api.host),
            well_again=lambda: log.info("kubernetes.well_again", host=api.host),
        )

    def troubles(self) -> tuple[str, ...]:
        """What keeps the pods from being followed, in words for an operator."""
        return self._perseverance.troubles()

    def take_in(self, pod: Pod) -> None:
        """A pod as the API has just shown it."""
        if entry := self._roster.see(pod):
            self._tell(entry)

    async def keep_listing(self) -> None:
        while True:
            self._list_now.clear()  # before: who asks while a listing is on its way asks for the next one
            await self._perseverance.persist("list", self._list)
            await self._tell_listed(self._listing)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._resync_seconds):
                    await self._list_now.wait()

    async def _list(self) -> None:
        """One whole listing, a page at a time. Without a version, for then the API answers with nothing stale."""
        began = time.monotonic()
        query = {"labelSelector": OURS, "limit": str(PAGE)}
        uids: list[str] = []
        take_in = self._skim if len(self._roster) else self._read
        while True:
            metadata, seen = await take_in(query)
            uids += seen
            version: str = metadata["resourceVersion"]
            if not (more := metadata.get("continue")):
                break
            query["continue"] = more
        present = self._roster.listed(version, uids)
        for number, entry in enumerate(self._roster.entries(), start=1):
            self._tell(entry)
            if number % BREATH == 0:
                await asyncio.sleep(0)
        self._perseverance.listed()
        if not self._version:
            self._version = version
            self._has_version.set()
        self._listing = Listed(began, present)

    async def _skim(self, query: Mapping[str, str]) -> _Page:
        """A page of which most is known, as a rule: versions are small and quickly read, so they are asked for first.

        If one of them is news, the page is asked for again, whole (fault K6).
        """
        page = await self._api.call("GET", self._path, query=query, accept=METADATA_ONLY, read=read_versions)
        if all(self._roster.knows(uid, version) for uid, version in page["items"]):
            return page["metadata"], [uid for uid, _ in page["items"]]
        return await self._read(query)

    async def _read(self, query: Mapping[str, str]) -> _Page:
        page = await self._api.call("GET", self._path, query=query, read=read_page)
        for number, pod in enumerate(page["items"]):
            if number % BREATH == 0:
                await asyncio.sleep(0)
            self._roster.see(pod)
        return page["metadata"], [pod["metadata"]["uid"] for pod in page["items"]]

    async def keep_following(self) -> None:
        while True:
            await self._has_version.wait()
            try:
                await self._perseverance.persist("watch", self._follow)
            except _ExpiredError:
                log.info("kubernetes.watch_expired", version=self._version)
                self._version = ""
                self._has_version.clear()
                self._list_now.set()

    async def _follow(self) -> None:
        """One watch, to its end. A busy API server ends it in the middle of a burst: then it goes on (fault K2)."""
        query = {
            "watch": "1",
            "labelSelector": OURS,
            "resourceVersion": self._version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(round(WATCH_SECONDS * random.uniform(0.9, 1.1))),
        }
        try:
            async with self._api.stream(self._path, query=query, silence=SILENCE_SECONDS) as chunks:
                self._perseverance.is_well("watch")
                rest = b""
                async for chunk in chunks:
                    *lines, rest = (rest + chunk).split(b"\n")
                    for line in lines:
                        self._hear(parse(line, read_event))
        except RefusedError as no:
            if no.status == _GONE:
                raise _ExpiredError from no
            raise

    def _hear(self, event: Json) -> None:
        kind, thing = event["type"], event["object"]
        match kind:
            case "ADDED" | "MODIFIED":
                self.take_in(thing)
            case "DELETED":
                if entry := self._roster.lose(thing):
                    self._tell(entry)
            case "ERROR" if thing.get("code") == _GONE:
                raise _ExpiredError
            case "ERROR":
                raise RefusedError(
                    thing.get("code", 0), thing.get("reason", ""), thing.get("message", "the watch failed")
                )
            case _:
                pass  # BOOKMARK, and whatever else only moves the version on
        if version := thing.get("metadata", {}).get("resourceVersion"):
            self._version = version
