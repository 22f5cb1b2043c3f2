"""What we use of gunicorn's objects, and nothing else; the same from gunicorn 20.1.0 to 27.0.1."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol


class Config(Protocol):
    """``gunicorn.config.Config``: a new object after each HUP."""

    @property
    def statsd_host(self) -> object: ...
    @property
    def statsd_prefix(self) -> str: ...
    @property
    def dogstatsd_tags(self) -> str: ...
    @property
    def timeout(self) -> int: ...
    @property
    def backlog(self) -> int: ...
    @property
    def address(self) -> Sequence[tuple[str, int] | str | int]: ...
    @property
    def reuse_port(self) -> bool: ...
    @property
    def worker_class_str(self) -> str: ...


class Listener(Protocol):
    """``gunicorn.sock.BaseSocket``; it also has the methods of its socket, until it is closed."""

    sock: object | None


class Worker(Protocol):
    """``gunicorn.workers.base.Worker``."""

    age: int  # 1 for the arbiter's first worker, 2 for its second: never the same twice
    pid: int
    handle: Callable[..., object]  # sync, gthread, gevent, eventlet: called for each connection


class Arbiter(Protocol):
    """``gunicorn.arbiter.Arbiter``; its main thread changes all of this at any time."""

    cfg: Config
    proc_name: str  # ends in ".2" from an USR2 upgrade until the promotion
    worker_age: int  # the age of the youngest worker: how many were forked so far
    LISTENERS: Sequence[Listener]  # replaced by HUP; empty with reuse_port and in a shutdown
    WORKERS: Mapping[int, Worker]  # by pid; changed in place by forks and deaths
