"""netlink: built and parsed messages, and possible answers of the kernel."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gunicorn_backlog.kernel.accept_queue import QueueError
from gunicorn_backlog.kernel.netlink import (
    NLM_F_DUMP,
    NLM_F_DUMP_INTR,
    NLM_F_REQUEST,
    NLMSG_DONE,
    NLMSG_ERROR,
    NLMSG_NOOP,
    ask,
    attributes,
    build,
    parse,
)

ANSWER = 20


def message(payload: bytes = b"", kind: int = ANSWER, flags: int = 0, sequence: int = 1) -> bytes:
    """Return one message as the kernel sends it, padded."""
    octets = build(kind, flags, sequence, payload)
    return octets + bytes(-len(octets) % 4)


class Kernel:
    """A kernel with prepared answers: the real one can't be made to send them."""

    def __init__(self, *answers: Iterable[bytes]) -> None:
        self._answers = iter(answers)
        self._datagrams: list[bytes] = []
        self.requests: list[bytes] = []

    def send(self, octets: bytes, /) -> int:
        """Take a request, and queue its answer."""
        self.requests.append(octets)
        self._datagrams.extend(next(self._answers))
        return len(octets)

    def recv(self, _size: int, _flags: int, /) -> bytes:
        """Return the next datagram. Raises BlockingIOError without one."""
        if not self._datagrams:
            raise BlockingIOError(11, "Resource temporarily unavailable")
        return self._datagrams.pop(0)


def done(sequence: int = 1, flags: int = 0, code: int = 0) -> bytes:
    """Return the end of a dump."""
    return message(struct.pack("=i", code), NLMSG_DONE, flags, sequence)


def test_a_message_is_built_and_parsed() -> None:
    """``parse`` returns what ``build`` was given."""
    assert list(parse(message(b"abc", 20, 0x300, 7) + message(b"", 3, 0, 7))) == [
        (20, 0x300 | NLM_F_REQUEST, 7, b"abc"),
        (3, NLM_F_REQUEST, 7, b""),
    ]


def test_an_answer_of_one_message() -> None:
    """Without NLM_F_DUMP the first message is the whole answer."""
    assert ask(Kernel([message(b"one!")]), 20, 0, b"") == [b"one!"]


def test_a_dump_in_several_datagrams() -> None:
    """All messages up to NLMSG_DONE are returned, without padding, from any number of datagrams."""
    kernel = Kernel([message(b"1") + message(b"22"), message(b"333"), done()])
    assert ask(kernel, 20, NLM_F_DUMP, b"") == [b"1", b"22", b"333"]


def test_messages_of_another_request_are_passed_over() -> None:
    """The rest of an earlier answer is ignored."""
    kernel = Kernel(
        [message(b"old", sequence=99) + message(kind=NLMSG_NOOP) + message(b"new"), done()]
    )
    assert ask(kernel, 20, NLM_F_DUMP, b"") == [b"new"]


def test_an_interrupted_dump_is_asked_for_again() -> None:
    """The second request has a new sequence number: the rest of the first answer is ignored."""
    interrupted = message(b"half", flags=NLM_F_DUMP_INTR)
    kernel = Kernel([interrupted, done()], [message(b"all", sequence=2), done(2)])
    assert ask(kernel, 20, NLM_F_DUMP, b"") == [b"all"]
    assert len(kernel.requests) == 2


def test_a_dump_that_is_always_interrupted_is_given_up() -> None:
    """After five interrupted dumps there is an error."""
    answers = [
        [message(b"x", flags=NLM_F_DUMP_INTR, sequence=n), done(n, NLM_F_DUMP_INTR)]
        for n in range(1, 100)
    ]
    with pytest.raises(QueueError, match="during each of 5 dumps"):
        ask(Kernel(*answers), 20, NLM_F_DUMP, b"")


def test_an_error_is_the_kernels_errno() -> None:
    """NLMSG_ERROR with ENOENT raises FileNotFoundError."""
    with pytest.raises(FileNotFoundError):
        ask(Kernel([message(struct.pack("=i", -2), NLMSG_ERROR)]), 20, 0, b"")


def test_a_dump_that_failed_is_the_kernels_errno() -> None:
    """Without inet_diag in the kernel the dump is empty, and NLMSG_DONE has the errno."""
    with pytest.raises(FileNotFoundError):
        ask(Kernel([done(code=-2)]), 20, NLM_F_DUMP, b"")
    with pytest.raises(QueueError, match="1 bytes are no netlink error"):
        ask(Kernel([message(b"1", NLMSG_DONE)]), 20, NLM_F_DUMP, b"")


def test_a_message_of_another_kind_is_an_error() -> None:
    """A message of a type that was not requested is not decoded."""
    with pytest.raises(QueueError, match="of type 4, not 20"):
        ask(Kernel([message(b"lost", kind=4)]), 20, 0, b"")


def test_an_answer_that_does_not_come_is_not_waited_for() -> None:
    """A missing answer raises BlockingIOError at once."""
    with pytest.raises(BlockingIOError):
        ask(Kernel([]), 20, 0, b"")
    with pytest.raises(BlockingIOError):
        ask(Kernel([message(b"1")]), 20, NLM_F_DUMP, b"")


@given(st.lists(st.binary(max_size=80), max_size=3), st.booleans())
def test_any_bytes_are_an_answer_or_an_error(datagrams: list[bytes], dump: bool) -> None:
    """Any bytes raise OSError or QueueError, or are an answer."""
    with suppress(QueueError, OSError):
        ask(Kernel([*datagrams, done()] * 5), 20, NLM_F_DUMP if dump else 0, b"")


@given(st.binary(max_size=80))
def test_any_bytes_are_messages_or_an_error(octets: bytes) -> None:
    """Truncated, oversized or random bytes raise QueueError only."""
    for parser in (parse, attributes):
        try:
            list(parser(octets))
        except QueueError:
            continue


@given(st.binary(min_size=1, max_size=80), st.integers(min_value=0, max_value=80))
def test_a_cut_message_is_an_error(payload: bytes, length: int) -> None:
    """A message that is cut at any length raises QueueError."""
    whole = message(payload)
    cut = whole[: min(length, 15 + len(payload))]
    if cut:
        with pytest.raises(QueueError):
            list(parse(cut))
