"""A run is a sequence of rounds over one world that ages: hostility, then rest, then judgement.

Each round has a seed of its own, made of that of the run and its number, so a round can be planned again by itself. A
simulation of which a run was never ended is not used again: its id is, with a number behind it.
"""

import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from tests.chaos.evidence import Evidence, Happened, Life, Played, Word
from tests.chaos.faults import Fault, faults_of_round
from tests.chaos.hostile import Hostile
from tests.chaos.judge import judge
from tests.chaos.plan import Can, RunPlan, Slot, runs_of_round
from tests.chaos.verdict import Verdict
from tests.chaos.world import World

SILENCE_SECONDS = 2.0
"""After so long without a word nothing more is expected."""
LONGEST_SILENCE_SECONDS = 20.0
LAST_BREATH_SECONDS = 10.0
"""What a model may need to die after its end was told."""
MORE_THAN_ENOUGH = 30
"""Runs planned for each slot: a round ends before they do."""


SAME_BYTES = "same-bytes"
"""Leave out runs that are asked for in the very bytes of the run before, without a requestId."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What a run is like."""

    seed: int
    hostility: float = 40.0
    """Seconds of each round in which faults are made and runs are begun."""
    without: frozenset[str] = frozenset()
    """Lanes, or kinds, of faults to leave out; and SAME_BYTES, which is no fault."""


@dataclass(frozen=True, slots=True)
class Round:
    """What a round was, and what is to be said of it."""

    number: int
    slots: tuple[Slot, ...]
    faults: tuple[Fault, ...]
    began: float
    evidence: Evidence
    verdict: Verdict


def plan_of_round(terms: Terms, number: int, can: Can, world: World) -> tuple[tuple[Slot, ...], tuple[Fault, ...]]:
    seed = f"{terms.seed}/{number}"
    kinds = {kind for kind in world.kinds if kind.lane not in terms.without and kind.name not in terms.without}
    faults = faults_of_round(seed, kinds, terms.hostility, len(world.msos))
    can = replace(can, same_bytes=SAME_BYTES not in terms.without)
    return runs_of_round(seed, can, MORE_THAN_ENOUGH), faults


@dataclass(slots=True)
class Rounds:
    """Plays one round after the other in a world that is up."""

    world: World
    terms: Terms
    _names: dict[str, str] = field(default_factory=dict)
    _last: dict[str, Played] = field(default_factory=dict)
    """The last run of each simulation."""
    _runs: list[Played] = field(default_factory=list)
    _playing: int = 0
    """Slots that have not come to their end."""
    _over: bool = False
    _trouble: list[BaseException] = field(default_factory=list)

    def play(self, number: int) -> Round:
        world = self.world
        slots, faults = plan_of_round(self.terms, number, world.can, world)
        world.new_log(f"mso-{number}")
        world.patience.until = float("inf")
        self._runs, self._over, self._playing, began = [], False, len(slots), time.monotonic()
        players = [threading.Thread(target=self._play, args=(*one,), daemon=True) for one in enumerate(slots)]
        hostile = Hostile(world, faults)
        for player in players:
            player.start()
        try:
            world.board.wait(lambda: self._trouble or hostile.trouble, began + self.terms.hostility)
        finally:
            self._over = True
            hostile.end()
        self._rest(players)
        if self._trouble:
            raise self._trouble[0]
        self._await_silence()
        evidence = self._evidence()
        verdict = judge(evidence, time.monotonic() - began)
        for run in self._runs:
            self._last[run.simulation] = run
            if run.ended is None:
                self._names[run.plan.simulation] = f"{run.plan.simulation} {number}"
        return Round(number, slots, faults, began, evidence, verdict)

    def _play(self, slot: int, runs: Iterable[RunPlan]) -> None:
        orchestrators = self.world.orchestrators
        orchestrator = orchestrators[slot % len(orchestrators)]
        given_up: set[str] = set()
        try:
            for plan in runs:
                if self._over:
                    return
                if plan.simulation not in given_up:
                    name = self._names.get(plan.simulation, plan.simulation)
                    if orchestrator.play(plan, name, self._runs.append).ended is None:
                        given_up.add(plan.simulation)
        except BaseException as error:  # noqa: BLE001 - `play` raises it
            self._trouble.append(error)
        finally:
            self._playing -= 1
            self.world.board.tell()

    def _rest(self, players: Sequence[threading.Thread]) -> None:
        """Returns when every run has ended, or nobody believes in it: after half of the time without a sign of life."""
        until = time.monotonic() + self.world.rest_seconds
        while self._playing:
            signs, quiet = self._signs(), min(until, time.monotonic() + self.world.rest_seconds / 2)
            if not self.world.board.wait(partial(self._changed, signs), quiet):
                self.world.patience.until = time.monotonic()
                self.world.board.tell()
                break
        for player in players:
            player.join()

    def _signs(self) -> tuple[int, int, int]:
        register = self.world.register
        return register.began, register.ended, len(self.world.judge.words)

    def _changed(self, signs: tuple[int, int, int]) -> bool:
        return self._signs() != signs or not self._playing

    def _await_silence(self) -> None:
        words, until = self.world.judge.words, time.monotonic() + LONGEST_SILENCE_SECONDS
        heard = -1
        while heard < len(words) and time.monotonic() < until:
            heard = len(words)
            self.world.board.wait(partial(self._heard_more_than, heard), time.monotonic() + SILENCE_SECONDS)

    def _heard_more_than(self, count: int) -> bool:
        return len(self.world.judge.words) > count

    def _evidence(self) -> Evidence:
        world = self.world
        for run in self._runs:
            if run.ended is None:
                world.register.bury(run)  # what it leaves behind is a matter of its being lost
        world.board.wait(lambda: not world.register.living(), time.monotonic() + LAST_BREATH_SECONDS)
        for orchestrator in world.orchestrators:
            orchestrator.session.hand_over()
        words: list[Word] = world.judge.hand_over()
        lives: list[Life] = world.register.hand_over(self._runs)
        left = world.left()
        happened: list[Happened] = world.happened[:]
        world.happened.clear()
        return Evidence(
            runs=self._runs,
            words=words,
            lives=lives,
            faults=happened,
            before=tuple(self._last.values()),
            pods=world.pods(),
            left=left,
            touched=world.touched(),
        )
