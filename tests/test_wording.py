"""How values look to people."""

from datetime import timedelta

import pytest

from mso.wording import age, listed, one_line, printable


@pytest.mark.parametrize(
    ("seconds", "words"),
    (
        (-5, "0s"),
        (0, "0s"),
        (59.9, "59s"),
        (60, "1m00s"),
        (185, "3m05s"),
        (3600, "1h00m"),
        (7830, "2h10m"),
        (86_400, "1d00h"),
        (10 * 86_400 + 3 * 3600, "10d03h"),
    ),
)
def test_an_age_is_told_in_its_two_largest_units(seconds: float, words: str) -> None:
    """So that a column of them is narrow; a clock that went back makes nothing younger than now."""
    assert age(timedelta(seconds=seconds)) == words


def test_what_is_no_character_to_be_seen_is_told_as_a_number() -> None:
    """A terminal obeys what it is sent."""
    assert printable("a\x1b[2Jb\u200b") == "a\\x1b[2Jb\\x200b"
    assert printable("héllo wörld ✓") == "héllo wörld ✓"


def test_a_cell_is_one_line_and_not_too_long() -> None:
    """Whatever a program wrote."""
    assert one_line("a\n  b\tc") == "a b c"
    assert one_line(None) == one_line("") == one_line("\n") == "-"
    assert one_line("x" * 200) == "x" * 77 + "..."
    assert one_line(0) == "0"


def test_of_many_names_the_first_are_told() -> None:
    """And how many more there are."""
    assert listed(["a", "b"]) == "a, b"
    assert listed([str(number) for number in range(12)], 3) == "0, 1, 2 and 9 more"
