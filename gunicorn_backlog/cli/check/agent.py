"""Test of the Agent's address with one datagram: an empty line, which is no metric."""

from __future__ import annotations

import errno
import select
import socket
import time
from contextlib import suppress

from gunicorn_backlog.cli.check.findings import Finding, failed, ok, warning
from gunicorn_backlog.config.agent_address import DISABLED, is_local, parse
from gunicorn_backlog.dogstatsd import agent_socket
from gunicorn_backlog.dogstatsd.agent_socket import Target
from gunicorn_backlog.dogstatsd.resolver import Resolver
from gunicorn_backlog.kernel.accept_queue import reason

RESOLVED_S = 5.0
REFUSED_S = 0.3  # an ICMP refusal takes a moment
_EMPTY_LINE = b"\n"
_REMEDIES = {
    errno.ECONNREFUSED: "start the Agent, or set its address: GUNICORN_BACKLOG_URL, DD_AGENT_HOST",
    errno.ENOENT: "start the Agent, and mount the folder of its socket into the container",
    errno.EACCES: "give this user write permission for the socket, and access to its folders",
    errno.EAGAIN: "the Agent does not read as fast as metrics are sent: reduce its load",
}
_ANY_REMEDY = "set the Agent's address: GUNICORN_BACKLOG_URL, DD_AGENT_HOST, DD_DOGSTATSD_URL"


def finding(url: str, *, disabled: bool) -> Finding:
    """Send a datagram to the Agent, and return the result. Raises ValueError for a bad URL.

    Waits RESOLVED_S for a name server at most.

    :param url: the Agent's address, in one of ``agent_address.URL_FORMS``.
    :param disabled: ``DD_DOGSTATSD_DISABLE`` is set; then nothing is sent.
    """
    if disabled:
        return warning("Agent", DISABLED, "unset it where gunicorn is started, and in its raw_env")
    address = parse(url)
    resolver = Resolver(address)
    resolver.refresh(unreachable=False)
    resolver.wait_for_look_up(time.monotonic() + RESOLVED_S)
    target = resolver.target
    if target is None:
        return failed("Agent", f"{address}: {_unresolved(resolver.error)}", _ANY_REMEDY)
    where = str(address) if is_local(address) else f"{address} is {target.sockaddr[0]}, and"
    try:
        _send_to_any(address.scheme, target, resolver)
    except OSError as error:
        remedy = _REMEDIES.get(error.errno or 0, _ANY_REMEDY)
        if address.scheme == "udp" and error.errno == errno.EACCES:
            remedy = _ANY_REMEDY
        return failed("Agent", f"{where} accepts no datagram: {reason(error)}", remedy)
    if address.scheme == "udp":
        return ok("Agent", f"{where} does not refuse a datagram (UDP confirms none)")
    return ok("Agent", f"{where} accepts a datagram")


def _unresolved(error: OSError | None) -> str:
    if error is None:
        return f"no name server answered within {RESOLVED_S:g} s"
    return f"the name is unknown: {error.strerror or error}"


def _send_to_any(scheme: str, target: Target, resolver: Resolver) -> None:
    """Send the datagram, also to localhost's other address if the first fails. Raises OSError."""
    try:
        _send(scheme, target)
    except OSError:
        if resolver.switch_loopback() and resolver.target:
            with suppress(OSError):
                return _send(scheme, resolver.target)
        raise


def _send(scheme: str, target: Target) -> None:
    """Send the datagram, and wait for a refusal. Raises OSError."""
    with agent_socket.connect(scheme, target) as sock:
        if sock.type == socket.SOCK_DGRAM:
            sock.deliver(_EMPTY_LINE)
            select.select([sock], [], [], REFUSED_S if target.family != socket.AF_UNIX else 0)
        sock.read_error()
        if sock.error is not None:
            raise sock.error
