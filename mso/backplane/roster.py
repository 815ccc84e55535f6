"""The roster: every pod of ours that is known, how its model stands, and which doubts are due. In memory, no I/O.

Pods come from listings, from the watch and from our own creates, and not in the order in which they changed. Each
carries the version of its last change, so that what is older than what is known changes nothing: an old listing neither
revives a pod nor loses one that was just created (fault K9).
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

from mso import recollection
from mso.backplane import BackplaneError, Mark, Observation, Recollection
from mso.backplane.pod_status import FATAL_WAITS, Doubt, Patience, end_of_deleted, standing_of
from mso.backplane.pods import Pod, attempt_of, marks_of, recollection_of
from mso.model import NO_EXIT_CODE, Attempt, End, Failed, RunKey
from mso.timetable import Timetable

LINGER_SECONDS = 30.0
"""How long a pod may go on beside a model that has ended: long enough to read the log (fault P9)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How long a doubt may last, in seconds."""

    image_pull: float = 60.0
    pending: float = 300.0
    node: float = 60.0
    fatal_waits: frozenset[str] = FATAL_WAITS

    def of(self, patience: Patience) -> float:
        match patience:
            case Patience.NONE:
                return 0.0
            case Patience.IMAGE_PULL:
                return self.image_pull
            case Patience.PENDING:
                return self.pending
            case Patience.NODE:
                return self.node


@dataclass(slots=True, eq=False)
class Entry:
    """One pod, as it was when it was last seen to change."""

    attempt: Attempt
    name: str
    uid: str
    version: int
    revision: str
    """The version as the API writes it."""
    recollection: str = field(repr=False)
    marks: frozenset[Mark]
    end: End | None = None
    doubt: Doubt | None = None
    due: float = 0.0
    """When the doubt has lasted too long, or a pod that goes on beside its ended model too long (monotonic)."""
    lingers: bool = False
    condemned: Failed | None = None
    """Its doubt is certain and its deletion under way: this is how it ends, whatever is seen of that."""


class Roster:
    """What is known of our pods. `see` and `lose` return the entry if something about it is news.

    `alarm` is called when something may be due earlier than before, `bereaved` when the pod is gone that carried a mark
    of a run that goes on; `clock` is monotonic.
    """

    def __init__(
        self,
        limits: Limits,
        alarm: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        bereaved: Callable[[RunKey, Mark], None] = lambda *_: None,
    ) -> None:
        self._limits = limits
        self._alarm = alarm
        self._bereaved = bereaved
        self._clock = clock
        self._now = now
        self._entries: dict[Attempt, Entry] = {}
        self._by_uid: dict[str, Entry] = {}
        self._gone: set[str] = set()
        self._gone_before: set[str] = set()
        """Uids of pods that are gone since the last listing, and since the one before: an older one may show them."""
        self._runs: defaultdict[RunKey, set[Attempt]] = defaultdict(set)
        self._marked: defaultdict[RunKey, set[Attempt]] = defaultdict(set)
        """Whose pods carry marks: a few of each run, so that nobody has to look at all of them."""
        self._dues: Timetable[Entry] = Timetable()
        self._count = 0

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, attempt: Attempt) -> Entry | None:
        return self._entries.get(attempt)

    def entries(self) -> Iterator[Entry]:
        return iter(list(self._entries.values()))

    def of_run(self, run: RunKey) -> list[Entry]:
        return [self._entries[attempt] for attempt in self._runs.get(run, ())]

    def marks_of(self, run: RunKey) -> frozenset[Mark]:
        """What its pods carry together."""
        return frozenset(mark for attempt in self._marked.get(run, ()) for mark in self._entries[attempt].marks)

    def knows(self, uid: str, version: str) -> bool:
        """Whether `see` could learn nothing from that pod in that version; `version` as the API writes it."""
        entry = self._by_uid.get(uid)
        if entry is None:
            return uid in self._gone or uid in self._gone_before
        number = _number(version)
        return entry.revision == version if number is None else number <= entry.version

    def see(self, pod: Pod) -> Entry | None:
        """A pod as the API showed it. One that is not ours, or that is older than what is known, is no news."""
        uid, version = pod["metadata"]["uid"], self._version(pod)
        entry = self._by_uid.get(uid)
        if entry is not None and version <= entry.version:
            return None
        is_new = entry is None
        entry = entry or self._enter(pod, version)
        if entry is None:
            return None
        entry.version, entry.revision = version, pod["metadata"].get("resourceVersion", "")
        if marks := marks_of(pod):
            entry.marks |= marks
            self._marked[entry.attempt.key.run_key].add(entry.attempt)
        return entry if self._stand(entry, pod) or is_new else None

    def lose(self, pod: Pod) -> Entry | None:
        """The watch says that the pod is gone; `pod` is the last of it."""
        entry = self._by_uid.get(pod["metadata"]["uid"])
        if entry is None:
            return None
        self._strike(entry)
        if entry.end is not None:
            return None
        entry.end = entry.condemned or end_of_deleted(pod)
        return entry

    def listed(self, version: str, present: Iterable[str]) -> frozenset[Attempt]:
        """A whole listing of that version was seen, with pods of these uids: every attempt that is there.

        What the listing is too old to show counts as there.
        """
        at, uids = _number(version), frozenset(present)
        self._gone_before, self._gone = self._gone, set()
        for entry in self.entries():
            if entry.uid not in uids and (at is None or entry.version <= at):
                self._strike(entry)
        return frozenset(self._entries)

    def settle(self, entry: Entry, end: End) -> bool:
        """The model of a pod has ended, by our own verdict; False if it was known to have ended."""
        if entry.end is not None:
            return False
        entry.end, entry.doubt = end, None
        return True

    def observe(self, entry: Entry) -> Observation:
        return Observation(entry.attempt, entry.end, lambda: self._recall(entry))

    @property
    def next_due(self) -> float | None:
        """When the earliest doubt may be due (monotonic)."""
        return self._dues.next

    def due(self) -> Iterator[Entry]:
        """Entries that are in doubt for too long, or linger for too long."""
        now = self._clock()
        for entry in self._dues.due(now):
            is_current = self._entries.get(entry.attempt) is entry
            if is_current and (entry.lingers if entry.end else entry.doubt) and entry.due <= now:
                yield entry

    def look_again(self, entry: Entry, seconds: float) -> None:
        """It could not be dealt with now."""
        entry.due = self._clock() + seconds
        self._dues.add(entry.due, entry)
        self._alarm()

    def _enter(self, pod: Pod, version: int) -> Entry | None:
        """A pod that is not known yet, if it is ours, and neither gone nor older than one of the same attempt."""
        name, uid = pod["metadata"]["name"], pod["metadata"]["uid"]
        attempt = attempt_of(pod)
        if attempt is None or uid in self._gone or uid in self._gone_before:
            return None
        before = self._entries.get(attempt)
        if before is not None and version <= before.version:
            return None
        entry = Entry(attempt, name, uid, version, "", recollection_of(pod), frozenset())
        if before is not None:
            self._by_uid.pop(before.uid, None)
        self._entries[attempt] = self._by_uid[entry.uid] = entry
        self._runs[attempt.key.run_key].add(attempt)
        return entry

    def _strike(self, entry: Entry) -> None:
        self._gone.add(entry.uid)
        if self._entries.get(entry.attempt) is entry:
            del self._entries[entry.attempt]
            self._by_uid.pop(entry.uid, None)
            run = entry.attempt.key.run_key
            self._runs[run].discard(entry.attempt)
            self._marked[run].discard(entry.attempt)
            if not self._marked[run]:
                del self._marked[run]
            if not self._runs[run]:
                del self._runs[run]
                return
            for mark in entry.marks - self.marks_of(run):
                self._bereaved(run, mark)

    def _stand(self, entry: Entry, pod: Pod) -> bool:
        """Take in how the model stands; True if it has just ended. The first end that was seen is the truth."""
        standing = standing_of(pod, self._limits.fatal_waits)
        ends_now = False
        if entry.end is None and standing.end is not None:
            entry.end, entry.doubt, ends_now = entry.condemned or standing.end, None, True
        elif entry.end is None:
            self._doubt(entry, standing.doubt)
        if standing.lingers and not entry.lingers:
            self.look_again(entry, LINGER_SECONDS)
        entry.lingers = standing.lingers
        return ends_now

    def _doubt(self, entry: Entry, doubt: Doubt | None) -> None:
        before, entry.doubt = entry.doubt, doubt
        if doubt is None or (before is not None and before.patience is doubt.patience):
            return  # the same doubt goes on, perhaps in other words
        age = (self._now() - doubt.since).total_seconds() if doubt.since else 0.0
        self.look_again(entry, self._limits.of(doubt.patience) - age)

    def _recall(self, entry: Entry) -> Recollection:
        try:
            model = recollection.decode(entry.recollection)
        except recollection.UnreadableModelError as error:
            raise BackplaneError(f"the annotations of pod {entry.name} cannot be read: {error}") from error
        return Recollection(model, self.marks_of(entry.attempt.key.run_key) | entry.marks)

    def _version(self, pod: Pod) -> int:
        number = _number(pod["metadata"].get("resourceVersion", ""))
        self._count += 1
        return self._count if number is None else number


def verdict(entry: Entry) -> Failed:
    """What the doubt has become that has lasted too long."""
    assert entry.doubt
    return Failed(NO_EXIT_CODE, entry.doubt.reason, entry.doubt.message, node=entry.doubt.node)


def _number(version: str) -> int | None:
    """Versions of one cluster are ordered as numbers; where they are none, the order of arrival has to do.

    https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions
    """
    return int(version) if version.isdecimal() else None
