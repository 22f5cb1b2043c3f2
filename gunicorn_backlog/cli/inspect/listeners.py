"""A server's listeners, read from outside of the server: accept queues, limits and drops."""

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
_GONE = "it no longer listens"
_ELSEWHERE = str(ElsewhereError())
_ELSEWHERE_REMEDY = (
    "run this in the network namespace that the socket was created in: with socket activation "
    "that of systemd, as a rule the host's"
)


class ListenerState(NamedTuple):
    """One reading of a listener; an unreadable field is None.

    ``max_length`` and ``min_limit``: of one socket, if the listener has several (``reuse_port``).
    ``drops``: the kernel's counter of each socket since its creation, by inode.
    ``why``: the reason why a field is None. ``remedy``: for ``why``, if known.
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

    def read(self, refs: Sequence[ListenerRef]) -> list[ListenerState]:
        """Read each listener; sockets that share a name are one listener."""
        with ExitStack() as stack:
            try:
                stack.enter_context(namespaces.network_of(self._pid))
            except OSError as error:
                why = f"another network namespace, which may not be entered: {reason(error)}"
                states = [self._from_outside(ref, why) for ref in refs]
            else:
                states = [_by_netlink(ref) for ref in refs]
        states = list(map(self._or_elsewhere, refs, states))
        by_name: dict[str, list[ListenerState]] = {}
        for state in states:
            by_name.setdefault(state.listener, []).append(state)
        return [_merged(states) for states in by_name.values()]

    def _or_elsewhere(self, ref: ListenerRef, state: ListenerState) -> ListenerState:
        """Return ``state``, or another reading of a socket that netlink did not find.

        The socket may belong to our own network namespace. Otherwise the arbiter may have
        published its own reading.
        """
        if not state.why or not ref.inode:
            return state
        here = _by_netlink(ref)
        if not here.why:
            return here
        if ref.length is not None:
            drops = None if ref.drops is None else {ref.inode: ref.drops}
            return ListenerState(ref.listener, ref.length, ref.limit, drops=drops)
        if state.why == _GONE and self._is_held(ref) and not self._is_listed(ref):
            return ListenerState(ref.listener, why=_ELSEWHERE, remedy=_ELSEWHERE_REMEDY)
        return state

    def _is_held(self, ref: ListenerRef) -> bool:
        """Return whether the process holds the listener's socket."""
        socket_link = f"socket:[{ref.inode}]"
        with suppress(OSError):
            return any(link == socket_link for _, link in procfs.descriptors(self._pid))
        return False

    def _is_listed(self, ref: ListenerRef) -> bool:
        """Return whether the process's network namespace lists the socket.

        A listed socket that netlink did not find means a missing kernel module. With an unreadable
        list the socket counts as listed: no other namespace is then claimed.
        """
        try:
            if ref.family in TCP:
                listed = proc_net.listening(self._pid, ref.family)
                return any(found.inode == ref.inode for found in listed)
            proc_net.unix_length(ref.inode, self._pid)
        except ElsewhereError:
            return False
        except (OSError, QueueError):
            return True
        return True

    def _from_outside(self, ref: ListenerRef, why: str) -> ListenerState:
        """Return a TCP listener's backlog from ``/proc``, which has no limit."""
        if ref.family not in TCP or not ref.inode:
            return ListenerState(ref.listener, why=why)
        try:
            for found in proc_net.listening(self._pid, ref.family):
                if found.inode == ref.inode:
                    return ListenerState(ref.listener, found.length, why=why)
        except (OSError, QueueError) as error:
            why = reason(error)
        return ListenerState(ref.listener, why=why)


def _by_netlink(ref: ListenerRef) -> ListenerState:
    try:
        if ref.family == socket.AF_UNIX:
            return _state(ref, sock_diag.unix_queue(ref.inode), None)
        if ref.family in TCP:
            sockets = _sockets(ref)
            drops = {found.inode: found.drops for found in sockets if found.drops is not None}
            queues = [found.queue for found in sockets]
            queue = queues[0] if ref.inode else merge(queues)
            return _state(ref, queue, drops or None)
    except OSError as error:
        if error.errno == errno.ENOENT and ref.inode:
            return ListenerState(ref.listener, why=_GONE)
        remedy = remedy_of_netlink(error, "this")
        return ListenerState(ref.listener, why=f"netlink: {reason(error)}", remedy=remedy)
    except QueueError as error:
        return ListenerState(ref.listener, why=f"netlink: {error}")
    return ListenerState(ref.listener, why=ref.host or "unknown address family")


def _sockets(ref: ListenerRef) -> Sequence[sock_diag.InetListener]:
    """Return a listener's sockets, at least one. Raises OSError and QueueError."""
    if ref.inode:
        return [sock_diag.inet_listener(ref.family, ref.port, ref.inode)]
    at_port = sock_diag.inet_listeners(ref.family, ref.port)
    found = [listener for listener in at_port if listener.host == ref.host]
    if not found:
        raise QueueError("no socket listens there yet")
    return found


def _state(ref: ListenerRef, queue: AcceptQueue, drops: dict[int, int] | None) -> ListenerState:
    if not queue.limit:  # gVisor's kernel returns 0 for length and limit
        return ListenerState(ref.listener, why="this kernel returns the limit 0")
    return ListenerState(ref.listener, *queue, drops)


def _merged(states: Sequence[ListenerState]) -> ListenerState:
    """Return the sum of one listener's states; without all of its queues only the reasons."""
    if len(states) == 1:
        return states[0]
    name = states[0].listener
    whys = "; ".join(dict.fromkeys(state.why for state in states if state.why))
    queues = [
        AcceptQueue(state.length, state.limit)
        for state in states
        if state.length is not None and not state.why
    ]
    if len(queues) < len(states):
        remedies = "; ".join(dict.fromkeys(state.remedy for state in states if state.remedy))
        return ListenerState(name, why=whys, remedy=remedies)
    drops = {inode: count for state in states for inode, count in (state.drops or {}).items()}
    return ListenerState(name, *merge(queues), drops or None, whys)
