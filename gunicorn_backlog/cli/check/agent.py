"""Whether the Agent can be found, and takes a datagram: an empty line, which says nothing."""

from __future__ import annotations

import errno
import select
import socket
from contextlib import suppress

from gunicorn_backlog._threads.one_shot import OneShotThread
from gunicorn_backlog.cli.check.findings import Finding, failed, ok, warning
from gunicorn_backlog.config.agent_address import DISABLED, Address, is_local, parse
from gunicorn_backlog.dogstatsd import agent_socket
from gunicorn_backlog.dogstatsd.agent_socket import Target
from gunicorn_backlog.kernel.accept_queue import reason

RESOLVED_S = 5.0
REFUSED_S = 0.3  # for a refusal to come back
_NOTHING = b"\n"
_REMEDIES = {
    errno.ECONNREFUSED: "start the Agent, or say where it is: GUNICORN_BACKLOG_URL, DD_AGENT_HOST",
    errno.ENOENT: "start the Agent, and mount the folder of its socket into the container",
    errno.EACCES: "let this user write to the socket, and pass the folders on the way to it",
    errno.EAGAIN: "the Agent does not read as fast as it is sent to: see what it is busy with",
}
_ANY_REMEDY = "say where the Agent is: GUNICORN_BACKLOG_URL, DD_AGENT_HOST, DD_DOGSTATSD_URL"


def finding(url: str, *, disabled: bool) -> Finding:
    """Try it, unless nothing is sent to it by whom this is about. Raises ValueError: no address."""
    if disabled:
        return warning("Agent", DISABLED, "unset it where gunicorn is started, and in its raw_env")
    address = parse(url)
    found = _resolved(address)
    if isinstance(found, str):
        return failed("Agent", f"{address}: {found}", _ANY_REMEDY)
    where = str(address) if is_local(address) else f"{address} is {found.sockaddr[0]}, and"
    try:
        _send_to_any(address, found)
    except OSError as error:
        remedy = _REMEDIES.get(error.errno or 0, _ANY_REMEDY)
        if address.scheme == "udp" and error.errno == errno.EACCES:
            remedy = _ANY_REMEDY
        return failed("Agent", f"{where} takes no datagram: {reason(error)}", remedy)
    if address.scheme == "udp":
        return ok("Agent", f"{where} does not refuse a datagram (more is not to be known of UDP)")
    return ok("Agent", f"{where} takes a datagram")


def _resolved(address: Address) -> Target | str:
    """Return where the address leads to, or why it leads nowhere."""
    found: list[Target | str] = []

    def resolve() -> None:
        try:
            found.append(agent_socket.resolve(address))
        except OSError as error:
            found.append(f"its name is not known: {error.strerror or error}")

    OneShotThread(resolve).wait(RESOLVED_S)
    return found[0] if found else f"no name server answered within {RESOLVED_S:g} s"


def _send_to_any(address: Address, target: Target) -> None:
    """Send the datagram, to localhost's other address if this one fails. Raises OSError."""
    try:
        _send(address, target)
    except OSError:
        other = agent_socket.other_loopback(address, target)
        if other is None:
            raise
        with suppress(OSError):
            return _send(address, other)
        raise


def _send(address: Address, target: Target) -> None:
    """Send the datagram, and wait for a refusal. Raises OSError."""
    with agent_socket.connect(address.scheme, target) as sock:
        if sock.type == socket.SOCK_DGRAM:
            sock.send(_NOTHING)
            select.select([sock], [], [], REFUSED_S if target.family != socket.AF_UNIX else 0)
        sock.note_refusal()
        if sock.error is not None:
            raise sock.error
