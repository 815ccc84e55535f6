"""Who said what about which run: words, in the order in which they came, to one account a run. Pure.

No message of MSO names its run. It is told like this:

- A ModelHasTerminated is about the run that has a model of this id; where several have (runs of the same bytes), about
  the newest of those that its code fits.
- AllModelsHaveTerminated and ModelsReady are about the newest run of the simulation that was asked for. But the first
  AllModelsHaveTerminated is that of the newest run only when each of its models was told; one that comes before is
  another copy of that of the run before, which is over: else nobody would have asked for the newest one.

What the broker repeats to the judge's own session (`Word.again`) was not said twice, and is left out.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from mso.protocol.messages import lifecycle_pb2
from tests.chaos.evidence import Evidence, Played, Word
from tests.chaos.verdict import Finding, Wrong


@dataclass(slots=True, eq=False)
class Account:
    """What was said about one run."""

    run: Played
    ends: dict[str, list[Word]] = field(default_factory=lambda: defaultdict(list))
    """ModelHasTerminated by model, copies included."""
    ready: list[Word] = field(default_factory=list)
    over: list[Word] = field(default_factory=list)
    announced: dict[str, Word] = field(default_factory=dict)
    """The first ReadyForProcessing of each model."""
    rejected: list[Word] = field(default_factory=list)
    parts: set[bytes] = field(default_factory=set)
    """The requests of it that were heard."""
    findings: list[Finding] = field(default_factory=list)

    @property
    def missing(self) -> list[str]:
        return [model.id for model in self.run.plan.models if not self.ends[model.id]]

    @property
    def copies(self) -> list[Word]:
        """Further copies of terminations."""
        return [copy for told in self.ends.values() for copy in told[1:]]

    def hear(self, word: Word) -> None:
        match word.name:
            case "DeployModels":
                self.parts.add(word.payload)
            case "ReadyForProcessing":
                self.announced.setdefault(word.model, word)
            case "DeployModelsRejected":
                self.rejected.append(word)
            case "ModelsReady":
                self._hear_ready(word)
            case "ModelHasTerminated":
                if self.over and not self.ends[word.model]:
                    self._wrong(Wrong.OUT_OF_ORDER, f"{word.model} is told after AllModelsHaveTerminated")
                self.ends[word.model].append(word)
            case "AllModelsHaveTerminated":
                if not self.over and self.missing:
                    self._wrong(Wrong.OUT_OF_ORDER, f"AllModelsHaveTerminated before the ends of {self.missing}")
                self.over.append(word)
            case _:
                pass

    def _hear_ready(self, word: Word) -> None:
        if self.ready:
            self._wrong(Wrong.READY_TWICE, f"again after {word.at - self.ready[0].at:.1f} s")
        if failed := [model for model, told in self.ends.items() if told and has_failed(told[0])]:
            self._wrong(Wrong.OUT_OF_ORDER, f"ModelsReady after the failure of {failed}")
        if self.over:
            self._wrong(Wrong.OUT_OF_ORDER, "ModelsReady after AllModelsHaveTerminated")
        silent = [model.id for model in self.run.plan.models if model.id not in self.announced]
        if silent or len(self.parts) < len(self.run.payloads):
            self._wrong(Wrong.READY_TOO_SOON, f"before {silent or 'its last request'}")
        self.ready.append(word)

    def _wrong(self, wrong: Wrong, text: str) -> None:
        self.findings.append(Finding(wrong, text, self.run))


def has_failed(end: Word) -> bool:
    return bool(end.end.status == lifecycle_pb2.FAILED)


def accounts(evidence: Evidence) -> tuple[list[Account], list[Finding]]:
    """One for each run of this round, in the order in which they were played, and what could not be put into any."""
    reading = _Reading(evidence)
    for word in evidence.words:
        if not word.again:
            reading.take(word)
    mine = {id(run) for run in evidence.runs}
    return [account for account in reading.all if id(account.run) in mine], reading.strange


class _Reading:
    """One pass over the words."""

    def __init__(self, evidence: Evidence) -> None:
        self.all = [Account(run) for run in (*evidence.before, *evidence.runs)]
        self.strange: list[Finding] = []
        self._of: dict[str, list[Account]] = defaultdict(list)
        """By simulation, in the order of being asked for."""
        for account in self.all:
            self._of[account.run.simulation].append(account)
        settled = {id(run) for run in evidence.before}
        self._asked = {account.run.simulation: account for account in self.all if id(account.run) in settled}
        """The newest run of each simulation that was asked for so far."""
        for account in self._asked.values():
            account.over.append(Word(account.run.ended or 0.0, "/lifecycle/mso///AllModelsHaveTerminated", b""))

    def take(self, word: Word) -> None:
        runs = self._of.get(word.simulation, [])
        if account := self._about(word, runs):
            account.hear(word)
        elif word.by_mso and word.name != "Status":
            self.strange.append(Finding(Wrong.UNASKED, f"{word.name} about {word.simulation} {word.model}".rstrip()))

    def _about(self, word: Word, runs: Sequence[Account]) -> Account | None:
        match word.name:
            case "DeployModels":
                return self._open(word, runs)
            case "ModelHasTerminated":
                return self._owner(word, runs)
            case "AllModelsHaveTerminated":
                return self._ended(word, runs)
            case "ReadyForProcessing" | "ModelsReady" | "DeployModelsRejected":
                return self._asked.get(word.simulation)
            case _:
                return None

    def _open(self, word: Word, runs: Sequence[Account]) -> Account | None:
        """The newest run with these bytes that had been begun by then: a copy may come after the next run has begun."""
        mine = [account for account in runs if word.payload in account.run.payloads and account.run.asked <= word.at]
        if not mine:
            return None
        newest = self._asked.get(word.simulation)
        if newest is None or runs.index(mine[-1]) > runs.index(newest):
            self._asked[word.simulation] = mine[-1]
        return mine[-1]

    def _owner(self, word: Word, runs: Sequence[Account]) -> Account | None:
        asked = self._asked.get(word.simulation)
        known = runs[: runs.index(asked) + 1] if asked else []
        owners = [account for account in known if account.run.owns(word)]
        if owners:
            return owners[-1]
        # What was given up may end in any way, and late.
        given_up = [one for one in known if one.run.ended is None and word.model in one.run.plan.ids]
        return given_up[-1] if given_up else None

    def _ended(self, word: Word, runs: Sequence[Account]) -> Account | None:
        newest = self._asked.get(word.simulation)
        if newest is None or newest.over or not newest.missing:
            return newest
        before = runs[: runs.index(newest)]
        return before[-1] if before and before[-1].over else newest
