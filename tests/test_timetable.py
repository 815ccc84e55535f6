"""The timetable."""

from hypothesis import given
from hypothesis import strategies as st

from mso.timetable import Timetable


def test_an_empty_timetable_has_nothing_due() -> None:
    """Nothing was entered, nothing comes."""
    timetable: Timetable[str] = Timetable()
    assert timetable.next is None
    assert list(timetable.due(float("inf"))) == []


def test_what_is_due_comes_once_and_the_earliest_first() -> None:
    """An entry is due from its time on, and taken off when it is told."""
    timetable: Timetable[str] = Timetable()
    for when, entry in ((3.0, "late"), (1.0, "early"), (2.0, "middle")):
        timetable.add(when, entry)
    assert timetable.next == 1.0
    assert list(timetable.due(2.0)) == ["early", "middle"]
    assert list(timetable.due(2.0)) == []
    assert timetable.next == 3.0


def test_entries_of_one_time_come_in_the_order_of_their_entry() -> None:
    """Two entries of one moment never need to be comparable."""
    timetable: Timetable[object] = Timetable()
    entries = [object(), object(), object()]
    for entry in entries:
        timetable.add(1.0, entry)
    assert list(timetable.due(1.0)) == entries


def test_what_is_entered_while_the_due_ones_are_read_is_seen() -> None:
    """An entry that makes another one, due at once, does not lose it."""
    timetable: Timetable[str] = Timetable()
    timetable.add(1.0, "first")
    seen = []
    for entry in timetable.due(1.0):
        seen.append(entry)
        if entry == "first":
            timetable.add(0.5, "second")
    assert seen == ["first", "second"]


@given(st.lists(st.tuples(st.floats(0, 100), st.booleans())))
def test_a_timetable_is_a_sorted_list(steps: list[tuple[float, bool]]) -> None:
    """Whatever is entered and read in whatever order comes as from a list that is sorted by time and entry."""
    timetable: Timetable[int] = Timetable()
    oracle: list[tuple[float, int]] = []
    for number, (when, read) in enumerate(steps):
        if read:
            expected = [entry for time, entry in sorted(oracle) if time <= when]
            assert list(timetable.due(when)) == expected
            oracle = [(time, entry) for time, entry in oracle if time > when]
        else:
            timetable.add(when, number)
            oracle.append((when, number))
        assert timetable.next == min((time for time, _ in oracle), default=None)
