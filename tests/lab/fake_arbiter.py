"""A fake arbiter with the attributes that the package reads, for tests without a server."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gunicorn.glogging import Logger
from gunicorn.workers.sync import SyncWorker

from gunicorn_backlog import _gunicorn, hooks


@dataclass
class Setting:
    """A setting of gunicorn."""

    value: object = None
    default: object = None

    def get(self) -> object:
        """Return the setting's value."""
        return self.value


def our_hooks() -> dict[str, _gunicorn.Setting]:
    """Return our hooks as gunicorn's settings, by name."""
    return {name: Setting(getattr(hooks, name)) for name in hooks.__all__}


@dataclass
class Cfg:
    """gunicorn's config, with the attributes that the package reads."""

    logger_class: type = Logger
    statsd_host: object = None
    statsd_prefix: str = ""
    dogstatsd_tags: str = ""
    timeout: int = 30
    worker_class_str: str = "sync"
    backlog: int = 5
    address: Sequence[tuple[str, int] | str | int] = ()
    reuse_port: bool = False
    is_ssl: bool = False
    threads: int = 1
    workers: int = 1
    settings: Mapping[str, _gunicorn.Setting] = field(default_factory=our_hooks)


@dataclass
class Listener:
    """gunicorn's listener: an open socket, or None."""

    sock: Any


@dataclass
class Heartbeat:
    """gunicorn's file that a worker touches; ``at_s`` is the time of the latest touch."""

    at_s: float = 0.0

    def last_update(self) -> float:
        """Return the time of the latest touch."""
        return self.at_s

    def close(self) -> None:
        """Do nothing."""


@dataclass
class Worker:
    """gunicorn's worker, as represented in the arbiter's process."""

    pid: int
    age: int
    aborted: bool = False
    cfg: _gunicorn.Config = field(default_factory=Cfg)
    sockets: Sequence[_gunicorn.WorkerSocket] = ()
    tmp: Heartbeat = field(default_factory=Heartbeat)
    log: _gunicorn.Log = field(default_factory=lambda: logging.getLogger("gunicorn.error"))


@dataclass
class Arbiter:
    """An arbiter with these listeners and workers."""

    LISTENERS: Sequence[_gunicorn.Listener] = ()
    WORKERS: Mapping[int, _gunicorn.Worker] = field(default_factory=dict)
    cfg: _gunicorn.Config = field(default_factory=Cfg)
    proc_name: str = "lab"
    worker_age: int = 0
    worker_class: type = SyncWorker
    log: _gunicorn.Log = field(default_factory=lambda: logging.getLogger("gunicorn.error"))

    def manage_workers(self) -> None:
        """Do nothing."""

    def reap_workers(self) -> None:
        """Do nothing."""

    def kill_worker(self, pid: int, sig: int) -> None:
        """Do nothing."""
