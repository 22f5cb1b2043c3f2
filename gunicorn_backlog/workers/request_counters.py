"""Wrappers that count requests and busy time in the worker's own slot.

Hot path: runs on every request. A signal handler of the app can raise wherever Python checks for
signals: at a call, at the start of a function, and in a loop. Therefore no call stands between the
stores of related words, ``with`` takes all locks, and ``finally`` ends each begin.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from threading import get_ident
from typing import TYPE_CHECKING, TypeVar

from gunicorn_backlog.scoreboard.slot import (
    SINCE_NS,
    TAKEN,
    WORK_NS,
    Record,
)

if TYPE_CHECKING:
    from gunicorn_backlog.workers.last_wait import LastWait

T = TypeVar("T")


def track_busy(
    handle: Callable[..., T],
    record: Record,
    last_wait: LastWait,
    *,
    clock_ns: Callable[[], int] = time.monotonic_ns,
) -> Callable[..., T]:
    """Return ``handle`` as a function that records its busy time; one call runs at a time.

    Apart from the call of ``handle``, the function only reads the clock.

    :param last_wait: of the worker; is permitted or not for the request of each call.
    """
    fresh_ns = last_wait.fresh_ns

    def handle_timed(*args: object, **named: object) -> T:
        since_ns = clock_ns()
        last_wait.is_permitted = since_ns - last_wait.measured_ns < fresh_ns
        words = record.words
        words[SINCE_NS] = 0  # until the request's head is parsed
        words[WORK_NS] = record.worked_ns - since_ns
        try:
            return handle(*args, **named)
        finally:
            try:
                record.worked_ns += clock_ns() - since_ns
            except BaseException:  # a signal handler raised before the time was added
                record.worked_ns += clock_ns() - since_ns
                raise
            finally:
                record.words[WORK_NS] = record.worked_ns

    return handle_timed


def track_busy_threads(
    handle: Callable[..., T],
    records: Iterable[Record],
    last_wait: LastWait,
    *,
    beyond: Callable[..., T],
    busy: dict[int, Record] | None = None,
    clock_ns: Callable[[], int] = time.monotonic_ns,
) -> Callable[..., T]:
    """Return ``handle`` as a function that records each call in a free one of ``records``.

    The code is that of ``track_busy``: a function that finds the record would be one frame more.

    :param busy: the record of each thread, by ident; filled in here.
    :param beyond: called if no record is free.
    """
    busy = {} if busy is None else busy
    free, fresh_ns, permitted = list(records), last_wait.fresh_ns, last_wait.permitted
    take, give_back = free.pop, free.append

    def handle_timed(*args: object, **named: object) -> T:
        since_ns, thread = clock_ns(), get_ident()
        if 0 <= since_ns - last_wait.measured_ns < fresh_ns:
            permitted.add(thread)
        else:
            permitted.discard(thread)
        try:
            record = take()
        except IndexError:
            busy.pop(thread, None)
            return beyond(*args, **named)
        try:
            busy[thread] = record
            words = record.words
            record.taken += 1
            words[TAKEN] = record.taken
            words[SINCE_NS] = 0  # until the request's head is parsed
            words[WORK_NS] = record.worked_ns - since_ns
            return handle(*args, **named)
        finally:
            try:
                record.worked_ns += clock_ns() - since_ns
            except BaseException:
                record.worked_ns += clock_ns() - since_ns
                raise
            finally:
                record.words[WORK_NS] = record.worked_ns
                give_back(record)

    return handle_timed
