"""The tag ``bind``, the first listener's name; and configured addresses in the kernel's form."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from contextlib import suppress
from itertools import chain
from typing import TYPE_CHECKING, Any

from gunicorn_backlog._threads.unpatched import Socket
from gunicorn_backlog.config.tags import listener_tag

if TYPE_CHECKING:
    from gunicorn_backlog import _gunicorn


def first_listener(found: Sequence[_gunicorn.Listener], cfg: _gunicorn.Config) -> str:
    """Return the name of the first listener in gunicorn's order; empty if its socket is closed."""
    address = _first_address(cfg) if cfg.reuse_port else None
    if isinstance(address, tuple) and (address[1] or not found):
        return listener_tag((numeric(address[0]) or address[0], address[1]))
    if found:  # for port 0, too: the socket's address has the real port
        sock: Any = found[0].sock
        with suppress(OSError):
            return listener_tag(sock.getsockname()) if sock is not None else ""
    elif address is not None:
        return listener_tag(_inherited(address) if isinstance(address, int) else address)
    return ""


def _first_address(cfg: _gunicorn.Config) -> tuple[str, int] | str | int | None:
    """Return the first configured address; beside a descriptor gunicorn ignores all others."""
    descriptors = (address for address in cfg.address if isinstance(address, int))
    return next(chain(descriptors, cfg.address), None)


def _inherited(fd: int) -> Any:
    """Return the address of a socket that the arbiter inherited and leaves to its workers."""
    try:
        sock = Socket(fileno=fd)
        try:
            return sock.getsockname()
        finally:
            sock.detach()  # gunicorn's descriptor stays open
    except OSError:
        return configured(fd)


def configured(address: str | int) -> str:
    """Return a Unix path or a descriptor in the form of gunicorn's ``bind``."""
    return f"fd://{address}" if isinstance(address, int) else address


def family_of(host: str) -> socket.AddressFamily:
    """Return the family of a numeric address."""
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def numeric(host: str) -> str | None:
    """Return a configured host as the kernel prints its address.

    None for a name other than ``localhost``: resolving a name can block.
    """
    numbers = {"": "0.0.0.0", "localhost": "127.0.0.1"}.get(host, host)
    try:
        return socket.inet_ntop(family_of(host), socket.inet_pton(family_of(host), numbers))
    except OSError:
        return None
