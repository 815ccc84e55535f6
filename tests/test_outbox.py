"""The outbox: what may go, and in which order."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from mso.model import RunKey, SimulationId
from mso.outbox import Kind, Outbox, Row
from tests.builders import a_row

ONE, TWO = SimulationId("one"), SimulationId("two")
NUMBERS = count(1)
"""They rise, and are never given twice."""


def put(outbox: Outbox, kind: Kind, simulation: SimulationId = ONE, *, held: bool = False) -> int:
    """A row with the next number."""
    number = next(NUMBERS)
    outbox.put(a_row(number, kind, simulation, held=held))
    return number


def sendable(outbox: Outbox) -> Iterator[Row]:
    while row := outbox.take():
        yield row


def numbers(outbox: Outbox) -> list[int]:
    return [row.number for row in sendable(outbox)]


def test_an_empty_outbox_has_nothing_to_send() -> None:
    """Nothing was said, nothing goes."""
    assert Outbox().take() is None
    assert len(Outbox()) == 0


def test_rows_go_in_the_order_in_which_they_came() -> None:
    """Terminations go one after the other, without waiting for each other's acknowledgement."""
    outbox = Outbox()
    expected = [put(outbox, Kind.TERMINATION, simulation) for simulation in (ONE, TWO, ONE)]
    assert numbers(outbox) == expected


def test_a_row_stays_until_the_broker_acknowledged_it() -> None:
    """To have been handed over is not to have arrived."""
    outbox = Outbox()
    put(outbox, Kind.TERMINATION)
    row = outbox.take()
    assert row
    assert len(outbox) == 1
    outbox.done(row)
    assert len(outbox) == 0


def test_all_models_have_terminated_waits_for_every_termination() -> None:
    """The last word of a run goes when all before it was acknowledged, and not merely sent."""
    outbox = Outbox()
    put(outbox, Kind.TERMINATION)
    put(outbox, Kind.TERMINATION)
    last = put(outbox, Kind.ALL_TERMINATED)
    first, second = sendable(outbox)
    outbox.done(second)
    assert outbox.take() is None
    outbox.done(first)
    assert numbers(outbox) == [last]


def test_nothing_of_its_simulation_goes_past_models_ready() -> None:
    """An event after ModelsReady waits until that was acknowledged."""
    outbox = Outbox()
    put(outbox, Kind.MODELS_READY)
    later = put(outbox, Kind.TERMINATION)
    (ready,) = sendable(outbox)
    outbox.done(ready)
    assert numbers(outbox) == [later]


def test_simulations_do_not_wait_for_each_other() -> None:
    """A barrier of one simulation holds up no other."""
    outbox = Outbox()
    ready = put(outbox, Kind.MODELS_READY, ONE)
    put(outbox, Kind.TERMINATION, ONE)
    other = put(outbox, Kind.TERMINATION, TWO)
    assert numbers(outbox) == [ready, other]


def test_rows_overtake_a_held_one() -> None:
    """A termination that waits for its log lines holds up no other termination."""
    outbox = Outbox()
    put(outbox, Kind.TERMINATION, held=True)
    quick = put(outbox, Kind.TERMINATION)
    assert numbers(outbox) == [quick]


def test_a_barrier_waits_for_a_held_row() -> None:
    """AllModelsHaveTerminated stays behind a termination that still waits for its log lines."""
    outbox = Outbox()
    held = put(outbox, Kind.TERMINATION, held=True)
    last = put(outbox, Kind.ALL_TERMINATED)
    assert numbers(outbox) == []
    outbox.release(held, b"with lines")
    (row,) = sendable(outbox)
    assert row.payload == b"with lines"
    outbox.done(row)
    assert numbers(outbox) == [last]


def test_a_held_barrier_holds_up_what_is_behind_it() -> None:
    """Nothing overtakes a ModelsReady that may not go yet."""
    outbox = Outbox()
    ready = put(outbox, Kind.MODELS_READY, held=True)
    put(outbox, Kind.TERMINATION)
    assert numbers(outbox) == []
    outbox.release(ready, b"")
    assert numbers(outbox) == [ready]


def test_what_is_released_behind_a_barrier_still_waits_for_it() -> None:
    """To be released is not to be allowed past."""
    outbox = Outbox()
    put(outbox, Kind.MODELS_READY)
    held = put(outbox, Kind.TERMINATION, held=True)
    outbox.release(held, b"")
    (ready,) = sendable(outbox)
    outbox.done(ready)
    assert numbers(outbox) == [held]


def test_a_second_release_changes_nothing() -> None:
    """Lines that come after the patience with them ended neither change the row nor send it twice."""
    outbox = Outbox()
    held = put(outbox, Kind.TERMINATION, held=True)
    outbox.release(held, b"first")
    outbox.release(held, b"second")
    (row,) = sendable(outbox)
    assert row.payload == b"first"
    outbox.done(row)
    outbox.release(held, b"third")
    assert numbers(outbox) == []


def test_what_a_row_says_may_be_settled_when_it_is_released() -> None:
    """A row that was held goes with what it was released with; one that was not is not changed any more."""
    outbox = Outbox()
    put(outbox, Kind.TERMINATION)
    held = put(outbox, Kind.TERMINATION, held=True)
    outbox.release(held, b"lines")
    outbox.release(held - 1, b"lines")
    assert [one.payload for one in sendable(outbox)] == [b"", b"lines"]


def test_a_lost_row_goes_again_in_its_old_place() -> None:
    """What was on its way when the connection broke comes before what was put later."""
    outbox = Outbox()
    first, second = put(outbox, Kind.TERMINATION), put(outbox, Kind.TERMINATION)
    lost = list(sendable(outbox))
    third = put(outbox, Kind.TERMINATION)
    for row in reversed(lost):
        outbox.lost(row)
    assert numbers(outbox) == [first, second, third]


def test_what_was_acknowledged_is_not_lost() -> None:
    """A connection that breaks after the acknowledgement sends nothing again."""
    outbox = Outbox()
    put(outbox, Kind.TERMINATION)
    (row,) = sendable(outbox)
    outbox.done(row)
    outbox.lost(row)
    outbox.done(row)
    assert numbers(outbox) == []


def test_a_row_that_waits_can_be_taken_back() -> None:
    """Of that kind and run, whether it waits for others or for its turn; those behind it move up."""
    outbox = Outbox()
    before = put(outbox, Kind.TERMINATION)
    waits = put(outbox, Kind.ALL_TERMINATED)
    behind = put(outbox, Kind.TERMINATION)
    may_go = put(outbox, Kind.ALL_TERMINATED, TWO)
    taken_back = [outbox.withdraw(Kind.ALL_TERMINATED, RunKey(simulation, 1)) for simulation in (ONE, TWO)]
    assert [row and row.number for row in taken_back] == [waits, may_go]
    assert (numbers(outbox), len(outbox)) == ([before, behind], 2)


def test_what_is_on_its_way_cannot_be_taken_back() -> None:
    """Nor what never was: another kind, another run."""
    outbox = Outbox()
    put(outbox, Kind.ALL_TERMINATED)
    (row,) = sendable(outbox)
    assert outbox.withdraw(Kind.ALL_TERMINATED, RunKey(ONE, 1)) is None
    outbox.lost(row)
    assert outbox.withdraw(Kind.MODELS_READY, RunKey(ONE, 1)) is None
    assert outbox.withdraw(Kind.ALL_TERMINATED, RunKey(ONE, 2)) is None
    assert outbox.withdraw(Kind.ALL_TERMINATED, RunKey(ONE, 1)) is row
    assert len(outbox) == 0


def test_two_runs_of_a_simulation_stay_in_order() -> None:
    """What the next run has to say waits until the run before has had its last word."""
    outbox = Outbox()
    kinds = [Kind.TERMINATION, Kind.ALL_TERMINATED, Kind.MODELS_READY, Kind.TERMINATION, Kind.ALL_TERMINATED]
    for kind in kinds:
        put(outbox, kind)
    seen = []
    while rows := list(sendable(outbox)):
        assert len(rows) == 1
        seen.append(rows[0].kind)
        outbox.done(rows[0])
    assert seen == kinds


def test_five_hundred_rows_of_one_simulation_go_at_once() -> None:
    """Only barriers make rows wait, not their number."""
    outbox = Outbox()
    expected = [put(outbox, Kind.TERMINATION) for _ in range(500)]
    assert numbers(outbox) == expected


@dataclass
class Expected:
    """What the oracle knows of a row."""

    number: int
    kind: Kind
    simulation: SimulationId
    held: bool
    row: Row | None = None
    """Set while it is in flight."""

    @property
    def barrier(self) -> bool:
        return self.kind in (Kind.MODELS_READY, Kind.ALL_TERMINATED)


class OutboxMachine(RuleBasedStateMachine):
    """Any sequence of rows, releases, acknowledgements and lost connections, against one plain list of rows."""

    def __init__(self) -> None:
        super().__init__()
        self.outbox = Outbox()
        self.rows: list[Expected] = []

    def may_go(self, row: Expected) -> bool:
        before = [other for other in self.rows if other.simulation == row.simulation and other.number < row.number]
        return not any(row.barrier or other.barrier for other in before)

    @property
    def in_flight(self) -> list[Expected]:
        return [row for row in self.rows if row.row]

    @rule(kind=st.sampled_from(Kind), simulation=st.sampled_from((ONE, TWO)), held=st.booleans())
    def put(self, kind: Kind, simulation: SimulationId, held: bool) -> None:
        number = put(self.outbox, kind, simulation, held=held)
        self.rows.append(Expected(number, kind, simulation, held))

    @rule()
    def take(self) -> None:
        expected = next(
            (row for row in self.rows if not row.held and not row.row and self.may_go(row)),
            None,
        )
        row = self.outbox.take()
        assert (row and row.number) == (expected and expected.number)
        if expected:
            expected.row = row

    @precondition(lambda self: self.rows)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        row = data.draw(st.sampled_from(self.rows))
        self.outbox.release(row.number, b"")
        row.held = False

    @rule(kind=st.sampled_from(Kind), simulation=st.sampled_from((ONE, TWO)))
    def take_back(self, kind: Kind, simulation: SimulationId) -> None:
        """The oldest of its kind, unless it is on its way, or is held and would be its turn."""
        expected = next((row for row in self.rows if (row.kind, row.simulation) == (kind, simulation)), None)
        if expected and (expected.row or (expected.held and self.may_go(expected))):
            expected = None
        row = self.outbox.withdraw(kind, RunKey(simulation, 1))
        assert (row and row.number) == (expected and expected.number)
        if expected:
            self.rows.remove(expected)

    @precondition(lambda self: self.in_flight)
    @rule(data=st.data())
    def acknowledge(self, data: st.DataObject) -> None:
        row = data.draw(st.sampled_from(self.in_flight))
        assert row.row
        self.outbox.done(row.row)
        self.rows.remove(row)

    @precondition(lambda self: self.in_flight)
    @rule(data=st.data())
    def lose_the_connection(self, data: st.DataObject) -> None:
        for row in data.draw(st.permutations(self.in_flight)):
            assert row.row
            self.outbox.lost(row.row)
            row.row = None

    @invariant()
    def every_row_is_accounted_for(self) -> None:
        assert len(self.outbox) == len(self.rows)

    def teardown(self) -> None:
        """In the end, everything that was put can go."""
        for row in self.in_flight:
            assert row.row
            self.outbox.lost(row.row)
        for row in self.rows:
            self.outbox.release(row.number, b"")
        for taken in sendable(self.outbox):
            self.outbox.done(taken)
        assert len(self.outbox) == 0


TestOutbox = OutboxMachine.TestCase
TestOutbox.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
