"""An arbiter as far as we look at one, for tests of single parts; servers' tests use real ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gunicorn.workers.sync import SyncWorker

from gunicorn_backlog import arbiter


@dataclass
class Cfg:
    """gunicorn's config, as far as it is read."""

    statsd_host: object = None
    statsd_prefix: str = ""
    dogstatsd_tags: str = ""
    timeout: int = 30
    worker_class_str: str = "sync"
    backlog: int = 5
    address: Sequence[tuple[str, int] | str | int] = ()
    reuse_port: bool = False


@dataclass
class Listener:
    """gunicorn's listener: a socket, or None when it was closed."""

    sock: Any


@dataclass
class Worker:
    """gunicorn's worker, in the arbiter's process."""

    pid: int
    age: int


@dataclass
class Arbiter:
    """An arbiter with these listeners and workers."""

    LISTENERS: Sequence[arbiter.Listener] = ()
    WORKERS: Mapping[int, arbiter.Worker] = field(default_factory=dict)
    cfg: arbiter.Config = field(default_factory=Cfg)
    proc_name: str = "lab"
    worker_age: int = 0
    worker_class: type = SyncWorker
