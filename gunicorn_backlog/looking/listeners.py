"""A server's listeners from outside: what waits in each, its limit, and what it dropped."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from typing import NamedTuple

from gunicorn_backlog import sock_diag
from gunicorn_backlog.about import Place
from gunicorn_backlog.accept_queue import AcceptQueue, QueueError, together
from gunicorn_backlog.looking import namespaces, proc_net
from gunicorn_backlog.queues import reason

TCP = (socket.AF_INET, socket.AF_INET6)
_GONE = "it listens no more"


class Reading(NamedTuple):
    """What was read of one listener; None is what could not be, and ``why`` says why not.

    ``drops`` are the counters of its sockets by inode, as the kernel has them since each was made.
    """

    listener: str
    length: int | None = None
    limit: int | None = None
    longest: int | None = None
    lowest: int | None = None
    drops: dict[int, int] | None = None
    why: str = ""


class Outside:
    """Reads the listeners of the process ``pid``."""

    def __init__(self, pid: int) -> None:
        self._pid = pid

    def read(self, places: Iterable[Place]) -> list[Reading]:
        """Read each of them; those of one name are one."""
        with ExitStack() as stack:
            try:
                stack.enter_context(namespaces.network_of(self._pid))
            except OSError as error:
                why = f"it is in another network namespace, which we may not enter: {reason(error)}"
                readings = [self._from_outside(place, why) for place in places]
            else:
                readings = [_by_netlink(place) for place in places]
        by_name: dict[str, list[Reading]] = {}
        for reading in readings:
            by_name.setdefault(reading.listener, []).append(reading)
        return [_one_of(those) for those in by_name.values()]

    def _from_outside(self, place: Place, why: str) -> Reading:
        """Return what ``/proc`` says, which is the length of a TCP socket's queue."""
        if place.family not in TCP or not place.inode:
            return Reading(place.listener, why=why)
        try:
            for found in proc_net.listening(self._pid, place.family):
                if found.inode == place.inode:
                    return Reading(place.listener, found.length, why=why)
        except (OSError, QueueError) as error:
            why = reason(error)
        return Reading(place.listener, why=why)


def _by_netlink(place: Place) -> Reading:
    try:
        if place.family == socket.AF_UNIX:
            return _reading(place, sock_diag.unix_queue(place.inode), None)
        if place.family in TCP:
            found = _sockets(place)
            drops = {it.inode: it.drops for it in found if it.drops is not None}
            queues = [it.queue for it in found]
            queue = queues[0] if place.inode else together(queues)
            return _reading(place, queue, drops or None)
    except OSError as error:
        gone = error.errno == errno.ENOENT
        return Reading(place.listener, why=_GONE if gone else f"netlink: {reason(error)}")
    except QueueError as error:
        return Reading(place.listener, why=f"netlink: {error}")
    return Reading(place.listener, why=place.host or "its family is not known")


def _sockets(place: Place) -> Sequence[sock_diag.InetListener]:
    """Return the sockets of a listener, of which there is one. Raises OSError and QueueError."""
    if place.inode:
        return [sock_diag.inet_listener(place.family, place.port, place.inode)]
    found = sock_diag.inet_listeners(place.family, place.port)
    found = [it for it in found if it.host == place.host]
    if not found:
        raise QueueError("nobody listens there yet")
    return found


def _reading(place: Place, queue: AcceptQueue, drops: dict[int, int] | None) -> Reading:
    if not queue.limit:  # and gVisor's kernel gives neither
        return Reading(place.listener, why="this kernel says that its limit is 0")
    return Reading(place.listener, *queue, drops)


def _one_of(readings: Sequence[Reading]) -> Reading:
    """Return the sum of listeners that have one name, if all of them were read."""
    if len(readings) == 1:
        return readings[0]
    whys = "; ".join(dict.fromkeys(it.why for it in readings if it.why))
    queues = [
        AcceptQueue(it.length, it.limit)
        for it in readings
        if it.length is not None and it.limit is not None
    ]
    if len(queues) < len(readings):
        return Reading(readings[0].listener, why=whys)
    drops = {inode: n for it in readings for inode, n in (it.drops or {}).items()}
    return Reading(readings[0].listener, *together(queues), drops or None, whys)
