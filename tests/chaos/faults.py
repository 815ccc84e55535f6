"""The faults of a round, as a plan: when which one begins, and for how long. Pure: the same seed gives the same plan.

Faults of one lane come one after the other, those of different lanes at the same time. Each lane has a source of chance
of its own, so that what is not possible here changes nothing about the rest.
"""

import random
from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What is done to whom; the part before the colon is the lane."""

    MSO_KILL = "mso: kill -9"
    MSO_PAUSE = "mso: SIGSTOP, SIGCONT"
    MSO_RESTART = "mso: SIGTERM, start"
    MSO_ENDED = "mso: ended by itself"
    """Never planned, only seen."""
    BROKER_KILL = "broker: kill -9"
    BROKER_PAUSE = "broker: SIGSTOP, SIGCONT"
    BROKER_RESTART = "broker: SIGTERM, start"
    LINK_CUT = "broker: connection cut"
    LINK_DELAY = "broker: connection delayed"
    LINK_DROP = "broker: connection silent, then cut"
    DISK_FULL = "disk: full under the ledger"
    CLOCK_JUMP = "clock: jump"
    DATABASE_KILL = "database: kill -9"
    DATABASE_PAUSE = "database: SIGSTOP, SIGCONT"
    API_KILL = "api: API server kill -9"
    API_PAUSE = "api: API server SIGSTOP, SIGCONT"
    API_RESTART = "api: API server restart"
    API_CUT = "api: MSO's connections cut"
    API_DELAY = "api: MSO's connections delayed"
    ETCD_KILL = "api: etcd kill -9"
    ETCD_PAUSE = "api: etcd SIGSTOP, SIGCONT"

    @property
    def lane(self) -> str:
        return self.value.partition(":")[0]


class Cue(StrEnum):
    """What a fault waits for, a moment, so that it hits where it hurts."""

    NONE = "at once"
    REQUEST = "a request"
    START = "the start of a model"
    READY = "a model is ready"
    END = "the end of a model"
    TOLD = "a message of MSO"


@dataclass(frozen=True, slots=True)
class Fault:
    at: float
    """Seconds from the beginning of the round. What takes longer than planned puts off the rest of its lane."""
    kind: Kind
    lasts: float
    cue: Cue = Cue.NONE
    jump: float = 0.0
    """What the clock is wrong by, in seconds."""
    which: int = 0
    """Which MSO; all of them if there are not so many."""


@dataclass(frozen=True, slots=True)
class _Way:
    """How often a fault is chosen in its lane, and how long it may last."""

    weight: float
    least: float
    most: float


_WAYS = {
    Kind.MSO_KILL: _Way(6, 0.0, 4.0),
    Kind.MSO_PAUSE: _Way(2, 0.5, 6.0),
    Kind.MSO_RESTART: _Way(2, 0.0, 2.0),
    Kind.BROKER_KILL: _Way(2, 0.0, 3.0),
    Kind.BROKER_PAUSE: _Way(2, 0.3, 6.0),
    Kind.BROKER_RESTART: _Way(2, 0.0, 3.0),
    Kind.LINK_CUT: _Way(3, 0.0, 1.0),
    Kind.LINK_DELAY: _Way(2, 0.2, 5.0),
    Kind.LINK_DROP: _Way(2, 0.2, 5.0),
    Kind.DISK_FULL: _Way(1, 1.0, 6.0),
    Kind.CLOCK_JUMP: _Way(1, 1.0, 10.0),
    Kind.DATABASE_KILL: _Way(1, 0.0, 3.0),
    Kind.DATABASE_PAUSE: _Way(1, 0.5, 6.0),
    Kind.API_KILL: _Way(1, 0.0, 5.0),
    Kind.API_PAUSE: _Way(2, 1.0, 10.0),
    Kind.API_RESTART: _Way(1, 0.0, 4.0),
    Kind.API_CUT: _Way(3, 0.0, 1.0),
    Kind.API_DELAY: _Way(3, 0.5, 8.0),
    Kind.ETCD_KILL: _Way(1, 0.0, 4.0),
    Kind.ETCD_PAUSE: _Way(1, 1.0, 8.0),
}
_USUAL_GAPS = {"mso": 5.0, "broker": 6.0, "disk": 12.0, "clock": 12.0, "database": 15.0, "api": 15.0}
"""Seconds between the faults of a lane, on average."""
_MOODS = (None, 0.3, 1.0, 1.0, 2.0)
"""What a lane does with its gaps in a round: one in five is quiet, one in five a storm."""
_LONG_SECONDS = 32.0
"""After this a lease is anybody's, and a connection that is silent has been given up."""
_LONG_AT_TIMES = (Kind.MSO_PAUSE, Kind.BROKER_PAUSE, Kind.LINK_DELAY)


def faults_of_round(seed: str, kinds: Collection[Kind], seconds: float, processes: int = 1) -> tuple[Fault, ...]:
    """In the order of their times. `processes` is how many MSOs there are."""
    lanes = {lane: [kind for kind in Kind if kind.lane == lane and kind in kinds] for lane in _USUAL_GAPS}
    faults = [
        fault
        for lane, possible in lanes.items()
        if possible
        for fault in _lane(random.Random(f"{seed}/{lane}"), lane, possible, seconds, processes)
    ]
    return tuple(sorted(faults, key=lambda fault: fault.at))


def _lane(rng: random.Random, lane: str, kinds: list[Kind], seconds: float, processes: int) -> list[Fault]:
    mood = rng.choice(_MOODS[1:] if lane in ("mso", "broker") else _MOODS)
    if mood is None:
        return []
    gap = _USUAL_GAPS[lane] * mood
    faults: list[Fault] = []
    at = rng.uniform(0.5, 2 * gap)
    while at < seconds:
        (kind,) = rng.choices(kinds, [_WAYS[one].weight for one in kinds])
        lasts = rng.choice((0.0, 1.0, 1.0)) * rng.uniform(_WAYS[kind].least, _WAYS[kind].most)
        lasts = max(lasts, _WAYS[kind].least)
        if kind in _LONG_AT_TIMES and rng.random() < (0.4 if processes > 1 and kind is Kind.MSO_PAUSE else 0.08):
            lasts = _LONG_SECONDS
        jump = rng.choice((-1, 1)) * rng.choice((30.0, 600.0, 7200.0)) * rng.random()
        cue = rng.choice((Cue.NONE, *Cue))
        faults.append(
            Fault(at, kind, lasts, cue, jump if kind is Kind.CLOCK_JUMP else 0.0, rng.randrange(processes + 1))
        )
        at += lasts + rng.expovariate(1 / gap)
    return faults
