"""The verdict on a round, or on many of them: figures, and everything that was not as promised."""

from collections import Counter
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any

from tests.chaos.evidence import Played
from tests.chaos.faults import Kind


class Wrong(StrEnum):
    """What can be wrong; each of them has to be 0."""

    LOST = "lost"
    """A ModelHasTerminated, AllModelsHaveTerminated or ModelsReady that did not come."""
    UNTRUE = "untrue"
    """An end that is not what happened, or is told in two ways."""
    READY_TWICE = "ModelsReady twice"
    READY_TOO_SOON = "ModelsReady too soon"
    OUT_OF_ORDER = "out of order"
    STARTED_TWICE = "started twice"
    HARMED = "killed for no reason"
    NOT_TRIED = "not tried"
    """A model that was not started, or not tried again, for no reason."""
    DUPLICATE = "duplicate without a fault"
    REJECTED = "rejected"
    UNASKED = "not asked for"
    """Something ran, or was told, that nobody had asked for."""
    LEFT = "left over"
    TOUCHED = "stranger touched"


@dataclass(frozen=True, slots=True)
class Finding:
    wrong: Wrong
    text: str
    run: Played | None = None

    def __str__(self) -> str:
        if self.run is None:
            return f"{self.wrong}: {self.text}"
        plan = self.run.plan
        return f"{self.wrong}: {self.run.simulation[:20]!r} (run {plan.label}, {plan.manner}): {self.text}"


@dataclass(slots=True)
class Verdict:
    rounds: int = 0
    seconds: float = 0.0
    simulations: int = 0
    """Runs of simulations."""
    models: int = 0
    starts: int = 0
    """Processes or pods of models that really ran."""
    messages: int = 0
    """From MSO, copies included."""
    duplicates: int = 0
    """Copies of a ModelHasTerminated."""
    duplicate_ends: int = 0
    """Copies of an AllModelsHaveTerminated."""
    unknown_ends: int = 0
    """Ends that nobody could know, and that were told as unknown: the disk was full."""
    longest_recovery: float = 0.0
    """Seconds from the end of a fault to the first sign that MSO works, while there was work."""
    faults: Counter[Kind] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)

    def count(self, wrong: Wrong) -> int:
        return sum(finding.wrong is wrong for finding in self.findings)

    @property
    def good(self) -> bool:
        return not self.findings

    def add(self, other: "Verdict") -> None:
        """Take the figures of another one into this one."""
        for figure in fields(self):
            mine, its = getattr(self, figure.name), getattr(other, figure.name)
            setattr(self, figure.name, max(mine, its) if figure.name == "longest_recovery" else mine + its)

    def figures(self) -> dict[str, Any]:
        """For people who compare: all numbers, by name."""
        plain = {figure.name: getattr(self, figure.name) for figure in fields(self)}
        plain |= {"seconds": round(self.seconds, 1), "longest_recovery": round(self.longest_recovery, 2)}
        plain["faults"] = {str(kind): self.faults[kind] for kind in Kind if self.faults[kind]}
        plain["wrong"] = {str(wrong): self.count(wrong) for wrong in Wrong}
        plain["findings"] = [str(finding) for finding in self.findings]
        return plain
