"""The quantities of Kubernetes, cell by cell."""

from decimal import Decimal

import pytest

from mso.backplane.quantities import parse


@pytest.mark.parametrize(
    ("text", "amount"),
    (
        ("1", "1"),
        ("0", "0"),
        ("1.5", "1.5"),
        (".5", "0.5"),
        ("5.", "5"),
        ("500m", "0.5"),
        ("100u", "0.0001"),
        ("1n", "0.000000001"),
        ("2k", "2000"),
        ("3M", "3000000"),
        ("1G", "1000000000"),
        ("1E", "1000000000000000000"),
        ("1e3", "1000"),
        ("1E3", "1000"),
        ("12e-1", "1.2"),
        ("1Ki", "1024"),
        ("2Gi", "2147483648"),
        ("1.5Gi", "1610612736"),
        (" 1Mi ", "1048576"),
    ),
)
def test_a_quantity_is_read(text: str, amount: str) -> None:
    """Decimal and binary suffixes, and exponents."""
    assert parse(text) == Decimal(amount)


@pytest.mark.parametrize(
    "text", ("", "much", "1 Gi", "1GB", "1gi", "-1", "+1", "1e", "0x10", "1e999", "NaN", "Ki", ".")
)
def test_what_is_none_is_refused(text: str) -> None:
    """With an example of one."""
    with pytest.raises(ValueError, match=r"is no quantity: .* 2Gi"):
        parse(text)
