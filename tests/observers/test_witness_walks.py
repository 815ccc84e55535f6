"""The witness on many random walks through kills, breaks and restarts: no ModelsReady twice, and none missing."""

import asyncio
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

import pytest

from mso.observers.witness import ECHO_SECONDS, Witness
from tests.fakes.exchange import Client, Exchange, Memory, Session
from tests.observers.witnessed import FILTERS, NONCE, Row, send

RUNS_OF_EACH = 3
ROWS = 2 * RUNS_OF_EACH
STEPS = 120


class Loop(asyncio.SelectorEventLoop):
    """Its clock stands still unless it is set."""

    now = 0.0

    def time(self) -> float:
        return self.now


class DeposedError(Exception):
    """Another process has claimed the ledger."""


@dataclass
class Ledger:
    """What is durable, and the commits that are under way."""

    rows: list[Row]
    owner: object = None
    commits: deque[Callable[[], None]] = field(default_factory=deque)

    def keep(self, row: Row) -> None:
        index = next(index for index, known in enumerate(self.rows) if known.payload == row.payload)
        self.rows[index] = replace(row)

    async def commit(self, life: "Life", entry: Callable[[], None]) -> None:
        """Between the moment when it is durable and the one when we know of it we may be killed."""
        known: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def tell() -> None:
            if not known.done():
                known.set_result(None)

        def keep() -> None:
            if known.cancelled():  # killed before
                return
            if life is not self.owner:
                known.set_exception(DeposedError())
                return
            entry()
            self.commits.append(tell)

        self.commits.append(keep)
        await known


class Life:
    """A process from its start until it is killed."""

    def __init__(self, exchange: Exchange, ledger: Ledger) -> None:
        self.main = Client(exchange, "mso")
        self.session = Client(exchange, "mso-witness", FILTERS)
        self._ledger = ledger
        self._witness = Witness(self.session, self.main, NONCE)
        ledger.owner = self
        # A copy, for a process sees no more than what was in the ledger when it began, and what it put there itself.
        rows = [replace(row) for row in ledger.rows]
        for row in rows:
            if row.token and not row.done:
                self._witness.expect(row.topic, row.token)
        by_topic: dict[str, list[Row]] = {}
        for row in rows:
            by_topic.setdefault(row.topic, []).append(row)
        self.tasks = [asyncio.create_task(self._send(rows)) for rows in by_topic.values()]
        self._watch = asyncio.create_task(self._witness.watch())

    def kill(self) -> None:
        for task in (*self.tasks, self._watch):
            task.cancel()
        self.main.lose()
        self.session.lose()

    async def _send(self, rows: list[Row]) -> None:
        for row in rows:
            await send(row, self.main, self._witness, partial(self._commit, row))

    async def _commit(self, row: Row, entry: Callable[[], None]) -> None:
        def keep() -> None:
            entry()
            self._ledger.keep(row)

        await self._ledger.commit(self, keep)


class Walk:
    """Chooses at random what happens next; at last all is well, and stays so."""

    def __init__(self, seed: int, *, forgets: bool, window: int, deposes: bool, absentee: bool) -> None:
        self._dice = random.Random(seed)
        self._breaks = [
            self._lose_main,
            self._lose_session,
            self._reset_main,
            self._kill,
            self._kill_broker if absentee else self._restart,
            *([self._forget, self._remember] if forgets else ()),
            *([self._depose, self._depose, self._depose] if deposes else ()),
        ]
        self._deposed: list[Life] = []
        self.exchange = Exchange(window=window)
        if absentee:
            self.exchange.restart({"mso-absentee": Session(FILTERS)})
        self._saved: Memory = {}
        self.ledger = Ledger(
            [
                Row(f"/lifecycle/mso/so/sim-{number}/ModelsReady", f"{number}/{run}".encode())
                for number in range(2)
                for run in range(RUNS_OF_EACH)
            ]
        )

    async def go(self) -> None:
        self._life = Life(self.exchange, self.ledger)
        for _ in range(STEPS):
            await self._quiet()
            unhappy = self._dice.choice(self._breaks)
            self._dice.choices((self._move, self._reconnect, unhappy, self._save), (16, 3, 1, 1))[0]()
        for life in self._deposed:
            life.kill()
        self._deposed.clear()
        loop = asyncio.get_running_loop()
        assert isinstance(loop, Loop)
        for _ in range(5000):
            await self._quiet()
            if all(task.done() for task in self._life.tasks):
                break
            if not self._reconnect() and not self._move():
                loop.now += 2 * ECHO_SECONDS
        for task in self._life.tasks:
            task.result()
        while self._reconnect() or self._move():
            await self._quiet()
        self._life.kill()

    def out(self, row: Row) -> int:
        """How often it went out."""
        return self.exchange.processed.count((row.topic, row.payload))

    def _move(self) -> bool:
        moves = self.exchange.moves
        if self.ledger.commits:
            moves.append(self.ledger.commits)
        if moves:
            self._dice.choice(moves).popleft()()
        return bool(moves)

    def _reconnect(self) -> bool:
        lives = (self._life, *self._deposed)
        away = [client for life in lives for client in (life.main, life.session) if client.connection is None]
        if away:
            self._dice.choice(away).connect()
        return bool(away)

    def _lose_main(self) -> None:
        self._life.main.lose()

    def _lose_session(self) -> None:
        self._life.session.lose()

    def _reset_main(self) -> None:
        self._life.main.reset()

    def _kill(self) -> None:
        for life in (self._life, *self._deposed):
            life.kill()
        self._deposed.clear()
        self._life = Life(self.exchange, self.ledger)

    def _depose(self) -> None:
        self._deposed.append(self._life)
        self._life = Life(self.exchange, self.ledger)

    def _restart(self) -> None:
        self.exchange.restart()

    def _kill_broker(self) -> None:
        self.exchange.restart(self.exchange.saved)

    def _forget(self) -> None:
        self.exchange.restart({})

    def _remember(self) -> None:
        self.exchange.restart(self._saved)

    def _save(self) -> None:
        """For a broker that saves now and then; but not between a token and its copy: that would mislead anybody."""
        if NONCE not in self.exchange.stored("mso-witness"):
            self._saved = self.exchange.remember()

    async def _quiet(self) -> None:
        for _ in range(12):
            await asyncio.sleep(0)


def walk(seed: int, *, forgets: bool = False, window: int = 20, deposes: bool = False, absentee: bool = False) -> Walk:
    taken = Walk(seed, forgets=forgets, window=window, deposes=deposes, absentee=absentee)
    with asyncio.Runner(loop_factory=Loop) as runner:
        runner.run(taken.go())
    return taken


@pytest.mark.parametrize("absentee", (False, True))
@pytest.mark.parametrize("seed", range(60))
def test_with_a_broker_that_remembers_each_goes_out_exactly_once(seed: int, absentee: bool) -> None:
    """Whatever is killed, cut or restarted, at whatever moment: it goes out once, and none is withheld.

    A Mosquitto that is killed remembers what it saved, and it saves enough when there is an absentee.
    """
    taken = walk(seed, absentee=absentee)
    assert [(row.done, row.withheld, taken.out(row)) for row in taken.ledger.rows] == [(True, False, 1)] * ROWS
    assert taken.exchange.stored("mso-witness") == []


@pytest.mark.parametrize("seed", range(60))
def test_with_a_broker_that_forgets_none_goes_out_twice(seed: int) -> None:
    """A broker that loses its memory, or wakes up with an older one, costs certainty, never a second ModelsReady."""
    assert_that_none_goes_out_twice(walk(seed, forgets=True))


@pytest.mark.parametrize("forgets", (False, True))
@pytest.mark.parametrize("window", (1, 2))
@pytest.mark.parametrize("seed", range(20))
def test_with_a_broker_that_sends_one_thing_at_a_time_none_goes_out_twice(
    seed: int, window: int, forgets: bool
) -> None:
    """A broker that may be owed few acknowledgements at once holds up nobody for ever, nor does it mislead us."""
    assert_that_none_goes_out_twice(walk(seed, window=window, forgets=forgets))


@pytest.mark.parametrize("seed", range(60))
def test_with_a_process_that_was_deposed_and_does_not_know_it_none_goes_out_twice(seed: int) -> None:
    """It goes on connecting, acknowledging and sending beside its successor, until it wants to commit."""
    assert_that_none_goes_out_twice(walk(seed, deposes=True))


def assert_that_none_goes_out_twice(taken: Walk) -> None:
    """And that what is called done went out."""
    for row in taken.ledger.rows:
        assert row.done
        assert taken.out(row) in ((0, 1) if row.withheld else (1,))
