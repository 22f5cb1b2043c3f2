"""Tests of packing lines into payloads."""

from __future__ import annotations

import pytest
from agent import parse_line
from hypothesis import given
from hypothesis import strategies as st

from gunicorn_backlog.dogstatsd.payloads import MAX_BYTES, UDP_BYTES, pack, split_values

TAGS = b"|#" + b",".join(b"k%02d:" % number + b"x" * 187 for number in range(42))


def line(length: int) -> bytes:
    """Return a line of ``length`` bytes."""
    begin = b"gunicorn.workers:1|g|#"
    return begin + b"x" * (length - len(begin) - 1) + b"\n"


@given(st.lists(st.integers(30, 9000), max_size=30), st.sampled_from([UDP_BYTES, MAX_BYTES]))
def test_every_line_that_fits_is_in_one_datagram(lengths: list[int], size: int) -> None:
    """Payloads have all lines up to MAX_BYTES in order; only a single line may exceed ``size``."""
    lines = [line(length) for length in lengths]
    fit = [kept for kept in lines if len(kept) <= MAX_BYTES]
    datagrams, left_out = pack(lines, size)
    assert b"".join(datagrams) == b"".join(fit)
    assert left_out == len(lines) - len(fit)
    for datagram in datagrams:
        assert datagram.endswith(b"\n")
        assert len(datagram) <= (size if datagram.count(b"\n") > 1 else MAX_BYTES)


@given(st.lists(st.integers(0, 10**5), min_size=1, max_size=100))
def test_a_long_line_is_split(values: list[int]) -> None:
    """With 42 tags of 192 characters each value is sent once, with all tags."""
    text = ":".join(map(str, values)).encode()
    parts = split_values(b"gunicorn.backlog:" + text + b"|h" + TAGS + b"\n")
    read = [parse_line(part.decode().strip()) for part in parts]
    assert [value for part in read for value in part.values] == values
    assert {part.tags for part in read} == {parse_line(f"a:1|g{TAGS.decode()}").tags}
    assert all(len(part) <= MAX_BYTES for part in parts)


@pytest.mark.parametrize("begin", [b"gunicorn.workers:1|g", b"_sc|gunicorn.is_running|0"])
@pytest.mark.parametrize("over", [0, 1])
def test_the_longest_line(begin: bytes, over: int) -> None:
    """A line of MAX_BYTES is kept; a line of one more byte is left out."""
    whole = begin + b"|#" + b"x" * (MAX_BYTES - len(begin) - 3 + over) + b"\n"
    assert split_values(whole) == ([] if over else [whole])
