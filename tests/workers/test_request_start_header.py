"""request_start_header: the values of proxies, and any others."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gunicorn_backlog.workers.request_start_header import LONGEST_S, waited_s

NOW_S = 1_700_000_010.0


@pytest.mark.parametrize(
    ("value", "waited"),
    [
        ("t=1700000000.123", 9.877),  # nginx, Apache in seconds
        ("1700000000.123", 9.877),
        ("1700000000", 10.0),
        ("t=1700000000123", 9.877),  # Heroku
        ("1700000000123.5", 9.8765),
        ("t=1700000000123456", 9.876544),  # Apache's %t
        (" t=1700000000.123 ", 9.877),
        ("1700000010.0005", 0.0),  # rounded up
    ],
)
def test_seconds_and_their_parts(value: str, waited: float) -> None:
    """The number of digits determines the unit; ``t=`` is optional."""
    assert waited_s(value, NOW_S) == pytest.approx(waited, abs=1e-6)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "t=",
        "now",
        "t=1700000011",  # in the future
        f"{NOW_S - LONGEST_S - 1}",  # absurd
        "170000000",
        "17000000001",
        "1700000000123456789",
        "-1700000000",
        "+1700000000",
        "1.7e9",
        "nan",
        "inf",
        "1_700_000_000",
        "\u0661" * 10,  # digits, but not of ASCII
        "t=1700000000.123, t=1700000001",
        "1700000000.1234567890",
    ],
)
def test_values_that_are_not_valid(value: str) -> None:
    """An invalid value yields None, and no error."""
    assert waited_s(value, NOW_S) is None


@given(st.binary().map(lambda octets: octets.decode("latin-1")) | st.text(), st.floats())
def test_no_header_raises(value: str, now_s: float) -> None:
    """No text, as gunicorn decodes it, and no time of day raises."""
    waited = waited_s(value, now_s)
    assert waited is None or 0 <= waited <= LONGEST_S


@given(st.from_regex(r"(t=)?[0-9]{9,20}(\.[0-9]{0,12})?", fullmatch=True), st.floats(0, 4e9))
def test_no_number_raises(value: str, now_s: float) -> None:
    """No value of digits raises."""
    waited = waited_s(value, now_s)
    assert waited is None or 0 <= waited <= LONGEST_S
