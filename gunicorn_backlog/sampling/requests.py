"""Requests of all workers: the oldest in flight, and stranded ones.

A stranded request waits at a full worker while another worker, which accepts connections, is free.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import NamedTuple

from gunicorn_backlog.scoreboard.detail_row import DetailState
from gunicorn_backlog.scoreboard.kind import GTHREAD
from gunicorn_backlog.scoreboard.slot import SlotRecord
from gunicorn_backlog.scoreboard.worker_row import WorkerRow


def oldest_s(rows: Mapping[int, WorkerRow], now_ns: int) -> float:
    """Return the age of the oldest request in flight, in seconds; 0.0 without a request."""
    starts_ns = [row.oldest_ns for row in rows.values() if row.oldest_ns is not None]
    return max(0, now_ns - min(starts_ns)) / 1e9 if starts_ns else 0.0


def stranded(
    rows: Mapping[int, WorkerRow],
    waiting: Mapping[int, int],
    asked: Collection[int] = (),
) -> int:
    """Return the number of requests that wait at a full worker while another one is free.

    :param rows: of workers with a capacity, by pid.
    :param waiting: connections in a worker's own accept queue (``reuse_port``), by pid.
    :param asked: pids of workers that gunicorn has asked to exit.
    """
    queued = free = 0
    for pid, row in rows.items():
        idle = row.capacity - row.busy
        if idle <= 0:
            queued += row.queued + waiting.get(pid, 0)
        elif not row.leaving and pid not in asked:
            free += idle
    return min(queued, free)


def waiting_by_pid(
    details: Iterable[tuple[SlotRecord, DetailState]], lengths: Mapping[int, int]
) -> dict[int, int]:
    """Return the connections in each worker's own accept queues, by the worker's pid.

    :param lengths: of the queues by the socket's inode.
    """
    return {
        slot.pid: sum(lengths.get(sock.inode, 0) for sock in detail.sockets if sock is not None)
        for slot, detail in details
    }


class RequestSample(NamedTuple):
    """Requests of all workers in one sample.

    oldest_s: age of the oldest request in flight, in seconds.
    stranded: None: none of the workers has a queue of its own.
    """

    oldest_s: float
    stranded: int | None


class RequestSampler:
    """Samples the requests of all workers."""

    def __init__(self) -> None:
        self._stranded_before = 0

    def sample(
        self,
        rows: Mapping[int, WorkerRow],
        now_ns: int,
        waiting: Mapping[int, int] | None = None,
        asked: Callable[[], Collection[int]] = frozenset,
    ) -> RequestSample:
        """Return a sample; a stranded request is in this sample and in the previous one.

        :param waiting: None: no worker has an accept queue of its own.
        :param asked: returns the pids of workers that gunicorn has asked to exit.
        """
        if not has_queues(rows, has_sockets=waiting is not None):
            self._stranded_before = 0
            return RequestSample(oldest_s(rows, now_ns), None)
        now = stranded(rows, waiting or {}, asked())
        before, self._stranded_before = self._stranded_before, now
        return RequestSample(oldest_s(rows, now_ns), min(before, now))


def has_queues(rows: Mapping[int, WorkerRow], *, has_sockets: bool) -> bool:
    """Return whether each worker has a capacity, and a queue of its own.

    :param has_sockets: each worker has an accept queue of its own.
    """
    if has_sockets:
        return all(row.capacity for row in rows.values())
    return bool(rows) and all(row.kind == GTHREAD for row in rows.values())
