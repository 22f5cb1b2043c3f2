"""Findings on the kernel: each measurement, tried on a socket with one waiting connection."""

from __future__ import annotations

import os
import platform
import select
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from gunicorn_backlog.cli.check.findings import Finding, failed, ok, warning
from gunicorn_backlog.kernel import netlink, proc_net, so_meminfo, sock_diag, tcp_info
from gunicorn_backlog.kernel.accept_queue import QueueError, reason
from gunicorn_backlog.kernel.somaxconn import somaxconn
from gunicorn_backlog.sampling.queue_readers import ALLOW, NETLINK, InetDiag, remedy_of_netlink

_WAITS = 1  # connections
_CONNECTED_S = 2.0
RAISE = "raise net.core.somaxconn (in a container, that of its network namespace)"


def findings(backlog: int) -> Iterator[Finding]:
    """Yield the findings on the platform.

    :param backlog: gunicorn's setting ``backlog``.
    """
    if sys.platform != "linux":
        text = (
            f"{platform.system()}, not Linux: workers, threads and requests are reported; "
            "backlogs, drops and how long requests waited on TCP are not, and no server is found"
        )
        yield failed("platform", text, "run it on Linux")
        return
    yield ok("platform", f"Linux {platform.release()}, Python {platform.python_version()}")
    yield from _tcp_findings()
    yield _unix_finding()
    yield _memfd_finding()
    yield _limit_finding(backlog)


def _tcp_findings() -> Iterator[Finding]:
    try:
        with _waiting(socket.AF_INET, ("127.0.0.1", 0)) as listener:
            by_netlink = _failure(lambda: InetDiag(listener).queue().length)
            yield _tcp_info_finding(_failure(lambda: tcp_info.read(listener).length), by_netlink)
            yield _inet_diag_finding(by_netlink)
            drops = _failure(lambda: so_meminfo.read(listener) + _WAITS)
            yield _drops_finding(drops, by_netlink)
    except OSError as error:
        text = f"the test connection to 127.0.0.1 failed: {reason(error)}"
        yield warning("TCP_INFO", text, "bring the loopback interface up")


def _tcp_info_finding(refused: str | None, by_netlink: str | None) -> Finding:
    if refused is None:
        return ok("TCP_INFO", "a listener in whose queue one connection waits reads 1")
    remedy = ALLOW.format("getsockopt(IPPROTO_TCP, TCP_INFO)", "this")
    if by_netlink is None:
        return warning("TCP_INFO", f"{refused}: TCP is read by netlink instead", remedy)
    return failed("TCP_INFO", f"{refused}, nor by netlink: no backlog of TCP", remedy)


def _inet_diag_finding(refused: str | None) -> Finding:
    if refused is None:
        return ok("netlink", "inet_diag reads 1 for this listener, too")
    text = f"inet_diag: {refused}: no backlog with reuse_port, and status reads none"
    return warning("netlink", text, _remedy_of_netlink())


def _drops_finding(refused: str | None, by_netlink: str | None) -> Finding:
    if refused is None or by_netlink is None:
        return ok("drops", "are counted by the kernel")
    remedy = ALLOW.format("getsockopt(SOL_SOCKET, SO_MEMINFO)", "this")
    return warning("drops", f"SO_MEMINFO: {refused}, nor by netlink: not sent", remedy)


def _unix_finding() -> Finding:
    try:
        with _waiting(socket.AF_UNIX, "") as listener:
            inode = os.fstat(listener.fileno()).st_ino
            refused = _failure(lambda: sock_diag.unix_queue(inode).length)
            unlisted = _failure(lambda: proc_net.unix_length(inode)) if refused else None
    except OSError as error:
        text = f"the test connection failed: {reason(error)}: no backlog of Unix sockets"
        return warning("Unix sockets", text, "permit Unix sockets for the server")
    if refused is None:
        return ok("Unix sockets", "unix_diag reads 1 for a Unix listener")
    text = f"unix_diag: {refused}: Unix sockets are read from /proc/net/unix, without a limit"
    if unlisted is not None:
        text = f"unix_diag: {refused}; /proc/net/unix: {unlisted}: no backlog of Unix sockets"
    return warning("Unix sockets", text, _remedy_of_netlink())


def _remedy_of_netlink() -> str:
    """Return the remedy for netlink, by the errno of its socket."""
    try:
        netlink.open_socket(sock_diag.NETLINK_SOCK_DIAG).close()
    except OSError as error:
        return remedy_of_netlink(error, "this") or ALLOW.format(NETLINK, "this")
    return "load the kernel modules unix_diag and tcp_diag"


def _memfd_finding() -> Finding:
    try:
        os.close(os.memfd_create("gunicorn_backlog check", os.MFD_CLOEXEC))
    except (AttributeError, OSError) as error:
        why = reason(error) if isinstance(error, OSError) else "this Python has no memfd_create"
        text = f"{why}: a temporary file is used instead, which top and status don't find"
        return warning("memfd", text, ALLOW.format("memfd_create", "this"))
    return ok("memfd", "top and status find the servers that are started here")


def _limit_finding(backlog: int) -> Finding:
    greatest = somaxconn()
    if greatest is None:
        text = f"net.core.somaxconn can't be read here; gunicorn requests {backlog}"
        return warning("backlog", text, "mount /proc/sys")
    if greatest < backlog:
        text = f"gunicorn requests {backlog}, net.core.somaxconn clamps it to {greatest}"
        return warning("backlog", text, RAISE)
    return ok("backlog", f"gunicorn requests {backlog}, net.core.somaxconn is {greatest}")


@contextmanager
def _waiting(family: int, address: tuple[str, int] | str) -> Iterator[socket.socket]:
    """Yield a listener whose accept queue holds one connection. Raises OSError."""
    with socket.socket(family) as listener, socket.socket(family) as client:
        listener.bind(address)
        listener.listen(5)
        client.settimeout(_CONNECTED_S)
        client.connect(listener.getsockname())
        select.select([listener], [], [], _CONNECTED_S)
        yield listener


def _failure(read: Callable[[], int]) -> str | None:
    """Return the reason why a call does not return the one waiting connection; None: it does."""
    try:
        found = read()
    except (OSError, QueueError) as error:
        return reason(error)
    return None if found == _WAITS else f"it reads {found}, where {_WAITS} waits"
