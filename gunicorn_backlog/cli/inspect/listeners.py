"""A server's listeners from outside: what waits in each, its limit, and what it dropped."""

from __future__ import annotations

import errno
import socket
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from typing import NamedTuple

from gunicorn_backlog.cli.inspect import namespaces, procfs
from gunicorn_backlog.kernel import proc_net, sock_diag
from gunicorn_backlog.kernel.accept_queue import (
    AcceptQueue,
    ElsewhereError,
    QueueError,
    merge,
    reason,
)
from gunicorn_backlog.sampling.queue_readers import remedy_of_netlink
from gunicorn_backlog.scoreboard.server_info import ListenerRef

TCP = (socket.AF_INET, socket.AF_INET6)
_GONE = "it listens no more"
_ELSEWHERE = str(ElsewhereError())
_WHERE_IT_IS = (
    "run this in the network namespace that the socket was created in: with socket activation "
    "that of systemd, as a rule the host's"
)


class ListenerState(NamedTuple):
    """What was read of one listener; None is what could not be, and ``why`` says why not.

    ``remedy`` is what helps then, if that is known.
    ``drops`` are the counters of its sockets by inode, as the kernel has them since each was made.
    """

    listener: str
    length: int | None = None
    limit: int | None = None
    max_length: int | None = None
    min_limit: int | None = None
    drops: dict[int, int] | None = None
    why: str = ""
    remedy: str = ""


class ListenerReader:
    """Reads the listeners of the process ``pid``."""

    def __init__(self, pid: int) -> None:
        self._pid = pid

    def read(self, places: Sequence[ListenerRef]) -> list[ListenerState]:
        """Read each of them; those of one name are one."""
        with ExitStack() as stack:
            try:
                stack.enter_context(namespaces.network_of(self._pid))
            except OSError as error:
                why = f"it is in another network namespace, which we may not enter: {reason(error)}"
                readings = [self._from_outside(place, why) for place in places]
            else:
                readings = [_by_netlink(place) for place in places]
        readings = list(map(self._otherwise, places, readings))
        by_name: dict[str, list[ListenerState]] = {}
        for reading in readings:
            by_name.setdefault(reading.listener, []).append(reading)
        return [_one_of(those) for those in by_name.values()]

    def _otherwise(self, place: ListenerRef, reading: ListenerState) -> ListenerState:
        """Return what is read of a listener that was not found by netlink in its process's place.

        Its socket may belong to the network namespace that we are in. If not, the arbiter's own
        numbers are returned where it published them.
        """
        if not reading.why or not place.inode:
            return reading
        here = _by_netlink(place)
        if not here.why:
            return here
        if place.length is not None:
            drops = None if place.drops is None else {place.inode: place.drops}
            return ListenerState(place.listener, place.length, place.limit, drops=drops)
        if reading.why == _GONE and self._holds(place) and not self._lists(place):
            return ListenerState(place.listener, why=_ELSEWHERE, remedy=_WHERE_IT_IS)
        return reading

    def _holds(self, place: ListenerRef) -> bool:
        """Return whether the process holds the listener's socket."""
        link = f"socket:[{place.inode}]"
        with suppress(OSError):
            return any(link == found for _, found in procfs.descriptors(self._pid))
        return False

    def _lists(self, place: ListenerRef) -> bool:
        """Return whether the socket is of the process's network namespace: netlink lacks a module.

        What can't be read counts as listed: nothing is claimed then.
        """
        try:
            if place.family in TCP:
                found = proc_net.listening(self._pid, place.family)
                return any(it.inode == place.inode for it in found)
            proc_net.unix_length(place.inode, self._pid)
        except ElsewhereError:
            return False
        except (OSError, QueueError):
            return True
        return True

    def _from_outside(self, place: ListenerRef, why: str) -> ListenerState:
        """Return what ``/proc`` says, which is the length of a TCP socket's queue."""
        if place.family not in TCP or not place.inode:
            return ListenerState(place.listener, why=why)
        try:
            for found in proc_net.listening(self._pid, place.family):
                if found.inode == place.inode:
                    return ListenerState(place.listener, found.length, why=why)
        except (OSError, QueueError) as error:
            why = reason(error)
        return ListenerState(place.listener, why=why)


def _by_netlink(place: ListenerRef) -> ListenerState:
    try:
        if place.family == socket.AF_UNIX:
            return _reading(place, sock_diag.unix_queue(place.inode), None)
        if place.family in TCP:
            found = _sockets(place)
            drops = {it.inode: it.drops for it in found if it.drops is not None}
            queues = [it.queue for it in found]
            queue = queues[0] if place.inode else merge(queues)
            return _reading(place, queue, drops or None)
    except OSError as error:
        if error.errno == errno.ENOENT and place.inode:
            return ListenerState(place.listener, why=_GONE)
        helps = remedy_of_netlink(error, "this")
        return ListenerState(place.listener, why=f"netlink: {reason(error)}", remedy=helps)
    except QueueError as error:
        return ListenerState(place.listener, why=f"netlink: {error}")
    return ListenerState(place.listener, why=place.host or "its family is not known")


def _sockets(place: ListenerRef) -> Sequence[sock_diag.InetListener]:
    """Return the sockets of a listener, of which there is one. Raises OSError and QueueError."""
    if place.inode:
        return [sock_diag.inet_listener(place.family, place.port, place.inode)]
    found = sock_diag.inet_listeners(place.family, place.port)
    found = [it for it in found if it.host == place.host]
    if not found:
        raise QueueError("nobody listens there yet")
    return found


def _reading(place: ListenerRef, queue: AcceptQueue, drops: dict[int, int] | None) -> ListenerState:
    if not queue.limit:  # and gVisor's kernel gives neither
        return ListenerState(place.listener, why="this kernel says that its limit is 0")
    return ListenerState(place.listener, *queue, drops)


def _one_of(readings: Sequence[ListenerState]) -> ListenerState:
    """Return the sum of listeners that have one name, if all of them were read."""
    if len(readings) == 1:
        return readings[0]
    whys = "; ".join(dict.fromkeys(it.why for it in readings if it.why))
    queues = [
        AcceptQueue(it.length, it.limit) for it in readings if it.length is not None and not it.why
    ]
    if len(queues) < len(readings):
        remedies = "; ".join(dict.fromkeys(it.remedy for it in readings if it.remedy))
        return ListenerState(readings[0].listener, why=whys, remedy=remedies)
    drops = {inode: n for it in readings for inode, n in (it.drops or {}).items()}
    return ListenerState(readings[0].listener, *merge(queues), drops or None, whys)
