"""Netlink: one request to the kernel, and the messages of the answer.

A message is ``struct nlmsghdr`` (``include/uapi/linux/netlink.h``) and its payload, padded to four
bytes, all in the machine's byte order:

======  ====  ============  =====================================================================
offset  size  field         meaning
======  ====  ============  =====================================================================
0       4     nlmsg_len     length with this header, without the padding
4       2     nlmsg_type    NLMSG_ERROR, NLMSG_DONE, or one of the protocol's
6       2     nlmsg_flags   NLM_F_*
8       4     nlmsg_seq     the request's number, repeated in all messages of the answer
12      4     nlmsg_pid     port of the socket
16      --    payload
======  ====  ============  =====================================================================

The answer to a dump is one or more datagrams, and ends with NLMSG_DONE. NLM_F_DUMP_INTR is set if
the objects changed during the dump; some may be missing or listed twice. An attribute (``struct
nlattr``) is u16 length with this header, u16 type, and the value, padded to four bytes.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator
from typing import Protocol

from gunicorn_backlog._threads.unpatched import Socket
from gunicorn_backlog.kernel.accept_queue import QueueError

NLM_F_REQUEST = 0x001
NLM_F_DUMP_INTR = 0x010
NLM_F_DUMP = 0x300

NLMSG_NOOP = 1
NLMSG_ERROR = 2
NLMSG_DONE = 3

_HEADER = struct.Struct("=IHHII")
_ERROR = struct.Struct("=i")  # a negative errno, or 0; in NLMSG_ERROR the request follows
_ATTRIBUTE = struct.Struct("=HH")
_DATAGRAM = 1 << 16  # bytes; the kernel fills at most 32 KiB
_TRIES = 5


class _InterruptedError(QueueError):
    """The sockets changed during the dump; ``ask`` repeats the request."""


class Transport(Protocol):
    """The methods of a netlink socket that ``ask`` calls."""

    def send(self, octets: bytes, /) -> int: ...
    def recv(self, size: int, flags: int, /) -> bytes: ...


def build(message_type: int, flags: int, sequence: int, payload: bytes) -> bytes:
    """Return a request as bytes; NLM_F_REQUEST is added to ``flags``."""
    length = _HEADER.size + len(payload)
    return _HEADER.pack(length, message_type, NLM_F_REQUEST | flags, sequence, 0) + payload


def parse(datagram: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """Yield type, flags, sequence and payload of each message in a datagram. Raises QueueError."""
    while datagram:
        try:
            length, message_type, flags, sequence, _ = _HEADER.unpack_from(datagram)
        except struct.error:
            raise QueueError(f"{len(datagram)} bytes are no netlink header") from None
        if not _HEADER.size <= length <= len(datagram):
            raise QueueError(f"a message of {length} bytes in {len(datagram)}")
        yield message_type, flags, sequence, datagram[_HEADER.size : length]
        datagram = datagram[_aligned(length) :]


def attributes(octets: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield type and value of each attribute. Raises QueueError."""
    while octets:
        try:
            length, attribute_type = _ATTRIBUTE.unpack_from(octets)
        except struct.error:
            raise QueueError(f"{len(octets)} bytes are no attribute") from None
        if not _ATTRIBUTE.size <= length <= len(octets):
            raise QueueError(f"an attribute of {length} bytes in {len(octets)}")
        yield attribute_type, octets[_ATTRIBUTE.size : length]
        octets = octets[_aligned(length) :]


def ask(transport: Transport, message_type: int, flags: int, payload: bytes) -> list[bytes]:
    """Return the payloads of the answer to one request, without waiting.

    The kernel answers before ``send`` returns. An interrupted dump is repeated up to four times.
    Raises OSError with the kernel's errno, and QueueError.
    """
    for sequence in range(1, _TRIES + 1):
        transport.send(build(message_type, flags, sequence, payload))
        try:
            dump = flags & NLM_F_DUMP == NLM_F_DUMP
            return list(_answer(transport, message_type, sequence, dump=dump))
        except _InterruptedError:
            continue
    raise QueueError(f"the sockets changed during each of {_TRIES} dumps")


def _answer(
    transport: Transport, message_type: int, sequence: int, *, dump: bool
) -> Iterator[bytes]:
    interrupted = False
    while True:
        datagram = transport.recv(_DATAGRAM, socket.MSG_DONTWAIT)
        for answer_type, flags, answered, payload in parse(datagram):
            if answered != sequence or answer_type == NLMSG_NOOP:
                continue  # the rest of an earlier answer
            interrupted |= bool(flags & NLM_F_DUMP_INTR)
            if answer_type in (NLMSG_ERROR, NLMSG_DONE):
                _raise_if_failed(payload)
                if interrupted:
                    raise _InterruptedError
                return
            if answer_type != message_type:
                raise QueueError(f"a message of type {answer_type}, not {message_type}")
            yield payload
            if not dump:
                return


def _raise_if_failed(payload: bytes) -> None:
    """Raise OSError if NLMSG_ERROR or NLMSG_DONE has an errno."""
    try:
        (code,) = _ERROR.unpack_from(payload)
    except struct.error:
        raise QueueError(f"{len(payload)} bytes are no netlink error") from None
    if code < 0:
        raise OSError(-code, os.strerror(-code))


def _aligned(length: int) -> int:
    return (length + 3) & ~3


def open_socket(protocol: int) -> Socket:
    """Return a netlink socket of a protocol (NETLINK_*). Raises OSError."""
    family = getattr(socket, "AF_NETLINK", None)
    if family is None:
        raise OSError(errno.EAFNOSUPPORT, "there is no netlink")
    return Socket(family, socket.SOCK_RAW, protocol)
