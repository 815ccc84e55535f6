"""Names for machines, made of ids that people chose."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mso.backplane.names import fingerprint, slug

ANY_TEXT = st.text(st.characters(), max_size=300)
"""With lone surrogates, as a file name that is no utf-8 has them."""


@pytest.mark.parametrize(
    ("text", "length", "expected"),
    (
        ("heat-pump", 20, "heat-pump"),
        ("Heat Pump_2.1", 20, "heat-pump-2-1"),
        ("--a--b--", 20, "a-b"),
        ("abcdef", 3, "abc"),
        ("ab-cdef", 3, "ab"),
        ("abc", 0, ""),
        ("é🔥_", 20, ""),
        ("1", 20, "1"),
        ("", 20, ""),
    ),
)
def test_a_slug_is_what_can_be_read_of_a_text(text: str, length: int, expected: str) -> None:
    """Letters and digits stay, in lower case; whatever is between them is one dash."""
    assert slug(text, length) == expected


@given(ANY_TEXT, st.integers(0, 70))
def test_a_slug_is_legal_in_any_name(text: str, length: int) -> None:
    """It neither begins nor ends with a dash, and is no longer than there is room, whatever the text."""
    made = slug(text, length)
    assert len(made) <= length
    assert re.fullmatch(r"([a-z0-9]+(-[a-z0-9]+)*)?", made)


@given(st.lists(st.lists(ANY_TEXT, max_size=4).map(tuple), unique=True, min_size=2))
def test_a_fingerprint_differs_whenever_a_part_does(parts: list[tuple[str, ...]]) -> None:
    """No two lists of texts share one."""
    assert len({fingerprint(*some) for some in parts}) == len(parts)


@pytest.mark.parametrize(
    ("one", "other"),
    (
        (("A",), ("a",)),
        (("ab", "c"), ("a", "bc")),
        (("ab",), ("a", "b")),
        (("a",), ("a", "")),
        (("1:a",), ("a",)),
        (("é",), ("e\u0301",)),
        (("\ud800",), ("\ufffd",)),
    ),
)
def test_a_fingerprint_tells_lookalikes_apart(one: tuple[str, ...], other: tuple[str, ...]) -> None:
    """Neither upper case, nor where one part ends, nor how a letter is composed is lost."""
    assert fingerprint(*one) != fingerprint(*other)


@pytest.mark.parametrize("length", (1, 16, 40, 64))
def test_a_fingerprint_is_as_long_as_it_is_asked_for(length: int) -> None:
    """Lower-case hexadecimal digits, legal wherever a name is."""
    assert re.fullmatch(f"[0-9a-f]{{{length}}}", fingerprint("a", length=length))


def test_a_fingerprint_is_the_same_in_every_release() -> None:
    """What one process named, the next one finds."""
    assert fingerprint("sim-1", "1", "m-0", "1") == "e62a84b9d28833ef"
