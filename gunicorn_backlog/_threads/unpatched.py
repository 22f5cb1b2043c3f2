"""The standard library's threads, locks and sockets, without the patches of gevent and eventlet.

``monkey.patch_all()`` in a gunicorn config file replaces threads by greenlets and locks by
switches between greenlets, also in the arbiter. A greenlet does not run while the arbiter sleeps,
and ``fork`` copies the greenlet into every worker. Therefore our thread must be an OS thread.
"""

from __future__ import annotations

import importlib
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any


def original(module_name: str, name: str) -> Any:
    """Return the unpatched ``module_name.name`` of the standard library."""
    gevent_monkey = sys.modules.get("gevent.monkey")
    if gevent_monkey is not None:
        return gevent_monkey.get_original(module_name, name)
    eventlet_patcher = sys.modules.get("eventlet.patcher")
    if eventlet_patcher is not None and eventlet_patcher.already_patched:
        return getattr(eventlet_patcher.original(module_name), name)
    return getattr(importlib.import_module(module_name), name)


class Event:
    """``threading.Event`` for one waiting thread, made of one unpatched lock."""

    def __init__(self) -> None:
        self._unset = original("_thread", "allocate_lock")()
        self._unset.acquire()

    def set(self) -> None:
        """End the current or the next wait; a second call does nothing."""
        with suppress(RuntimeError):  # raised if the event is set already
            self._unset.release()

    def is_set(self) -> bool:
        """Return whether the event is set."""
        return not self._unset.locked()

    def wait(self, timeout_s: float) -> bool:
        """Return whether the event is set within ``timeout_s`` seconds."""
        if not self._unset.acquire(timeout=max(0.0, timeout_s)):
            return False
        self.set()
        return True


if TYPE_CHECKING:
    from socket import socket

    Socket = socket
else:
    Socket = original("socket", "socket")
