"""The wait of a request on TCP, measured or skipped; see ``request_wait`` and ``last_wait``."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Mapping
from threading import get_ident
from typing import TYPE_CHECKING, Any, TypeVar

from gunicorn_backlog.kernel import tcp_info
from gunicorn_backlog.kernel.tcp_info import IPPROTO_TCP, TCP_INFO
from gunicorn_backlog.scoreboard.slot import BEGUN, SINCE_NS, Record, Slot
from gunicorn_backlog.scoreboard.wait_histogram import EXACT_MS, NOT_KNOWN, bucket_of
from gunicorn_backlog.workers.last_wait import NEVER_NS, TICK_MS, LastWait

if TYPE_CHECKING:
    from gunicorn_backlog.workers.handshake_waits import HandshakeWaits

T = TypeVar("T")
Measure = Callable[[tuple[Any, ...]], int]

# Errors of a measurement in a subclass that passes other arguments than gunicorn does.
NO_SOCKET = (AttributeError, IndexError, TypeError, tcp_info.UnpackError)
# Errors of getsockopt and ioctl: the socket is closed or not TCP, or a sandbox refused the call.
REFUSALS = frozenset(
    {
        errno.EACCES,
        errno.EBADF,
        errno.EINVAL,
        errno.ENOPROTOOPT,
        errno.ENOSYS,
        errno.ENOTCONN,
        errno.ENOTSOCK,
        errno.ENOTTY,
        errno.EOPNOTSUPP,
        errno.EPERM,
    }
)


def measurement(
    socket_at: int,
    in_connection: bool,
    handshake_waits: HandshakeWaits | None,
    last_wait: LastWait,
) -> Measure:
    """Return a function that returns the bucket of a wait from the arguments of a request.

    Hot path: runs on each request whose measurement is not skipped.
    """
    size, unpack = tcp_info.LAST_DATA_SIZE, tcp_info.unpack_last_data
    clock_ns = time.monotonic_ns

    def measure(args: tuple[Any, ...]) -> int:
        bucket: int
        try:
            sock = args[socket_at].sock if in_connection else args[socket_at]
            idle_ms, waited_ms = unpack(sock.getsockopt(IPPROTO_TCP, TCP_INFO, size))
            if handshake_waits is not None:
                waited_ms += handshake_waits.pop(sock)
            # A wait below EXACT_MS is its own bucket; a call of bucket_of takes 32 ns more.
            bucket = waited_ms if waited_ms < EXACT_MS else bucket_of(waited_ms)
            if waited_ms <= TICK_MS and idle_ms <= TICK_MS:
                last_wait.bucket = bucket
                last_wait.measured_ns = clock_ns()
            else:
                last_wait.measured_ns = NEVER_NS
            return bucket
        except NO_SOCKET:
            pass
        except OSError as error:
            if not is_refusal(error):
                raise
        return NOT_KNOWN

    return measure


def recorded(
    handle_request: Callable[..., T],
    slot: Slot,
    measure: Measure,
    last_wait: LastWait,
    counts: bool,
) -> Callable[..., T]:
    """Return ``handle_request`` as a function that records the wait, measured or skipped.

    Hot path: runs on every request.

    :param counts: also count the request, and store the time of its parsed head.
    """
    counters, clock_ns = slot.counters, time.monotonic_ns
    begun = slot.numbers[BEGUN]

    def handle_request_recorded(*args: Any, **named: Any) -> T:
        nonlocal begun
        if last_wait.is_permitted:
            last_wait.is_permitted = False
            bucket = last_wait.bucket
        else:
            bucket = measure(args)
        if counts:
            parsed_ns = clock_ns()
            begun += 1
            words = slot.words
            words[BEGUN] = begun
            words[SINCE_NS] = parsed_ns
        counters[bucket] = waits = counters[bucket] + 1
        slot.waits[bucket] = waits
        return handle_request(*args, **named)

    return handle_request_recorded


def recorded_in_threads(
    handle_request: Callable[..., T],
    slot: Slot,
    measure: Measure,
    last_wait: LastWait,
    busy: Mapping[int, Record],
) -> Callable[..., T]:
    """Return ``handle_request`` as the function of ``recorded``, for any number of threads.

    :param busy: the record of each thread, by ident.
    """
    counters, numbers, permitted = slot.counters, slot.numbers, last_wait.permitted
    clock_ns = time.monotonic_ns

    def handle_request_recorded(*args: Any, **named: Any) -> T:
        thread = get_ident()
        if thread in permitted:
            permitted.discard(thread)
            bucket = last_wait.bucket
        else:
            bucket = measure(args)
        record = busy.get(thread)
        if record is not None:
            record.words[SINCE_NS] = clock_ns()
        with slot.lock:
            numbers[BEGUN] = begun = numbers[BEGUN] + 1
            slot.words[BEGUN] = begun
            counters[bucket] = waits = counters[bucket] + 1
            slot.waits[bucket] = waits
        return handle_request(*args, **named)

    return handle_request_recorded


def is_refusal(error: OSError) -> bool:
    """Return whether the caller's system call failed; False: an app's signal handler raised.

    A handler's error, for example a TimeoutError, has a frame of the handler in its traceback.
    gevent's sockets also add a frame, since their methods are Python: the errno identifies their
    errors.
    """
    traceback = error.__traceback__
    return error.errno in REFUSALS or traceback is None or traceback.tb_next is None
