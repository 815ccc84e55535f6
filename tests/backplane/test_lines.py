"""The last lines of a log: any bytes in, text out (fault L3)."""

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mso.backplane.lines import TAIL_BYTES, last_lines


@pytest.mark.parametrize(
    ("data", "lines", "expected"),
    (
        (b"", 30, ()),
        (b"\n", 30, ()),
        (b"one", 30, ("one",)),
        (b"one\n", 30, ("one",)),
        (b"one\n\n", 30, ("one", "")),
        (b"one\ntwo\nthree\n", 2, ("two", "three")),
        (b"one\ntwo\nthree", 2, ("two", "three")),
        (b"one\ntwo\n", 0, ()),
        (b"one\ntwo\n", -1, ()),
        (b"one\r\ntwo\r\n", 30, ("one", "two")),
        (b"10 %\r20 %\r30 %\n", 30, ("10 %\r20 %\r30 %",)),
        (b'{"a": "b\'"}\n', 30, ('{"a": "b\'"}',)),
        (b"\x1b[31mred\x1b[0m\n", 30, ("\x1b[31mred\x1b[0m",)),
        ("é🔥\u2028x\n".encode(), 30, ("é🔥\u2028x",)),
        (b"caf\xe9\n", 30, ("caf\ufffd",)),
        (b"a\0b\n", 30, ("a\0b",)),
    ),
)
def test_lines_are_what_was_written(data: bytes, lines: int, expected: tuple[str, ...]) -> None:
    """The last ones, oldest first, without their ends; only what is no utf-8 is replaced."""
    assert last_lines(data, lines) == expected


@given(st.lists(st.binary(max_size=20).filter(lambda line: b"\n" not in line and not line.endswith(b"\r"))))
def test_no_line_is_lost_and_none_is_invented(lines: list[bytes]) -> None:
    """All that was written comes back, but for an only line that is empty."""
    expected = [] if lines == [b""] else [line.decode("utf-8", "replace") for line in lines]
    assert list(last_lines(b"".join(line + b"\n" for line in lines), len(lines) + 1)) == expected


def test_of_an_endless_line_the_end_is_kept() -> None:
    """What a program said last is what one wants to read."""
    (line,) = last_lines(b"x" * (3 * TAIL_BYTES) + b"the end\n", 30)
    assert line.endswith("xthe end")
    assert len(line) <= TAIL_BYTES


def test_a_character_that_was_cut_is_replaced() -> None:
    """A MiB may end within one."""
    (line,) = last_lines("é".encode() * TAIL_BYTES + b"x", 1)
    assert line[:2] == "\ufffdé"


def test_few_lines_of_many_cost_little() -> None:
    """Of a MiB of short lines no more is taken apart than is asked for."""
    data = b"x\n" * (TAIL_BYTES // 2)
    tracemalloc.start()
    try:
        assert last_lines(data, 30) == ("x",) * 30
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * TAIL_BYTES
