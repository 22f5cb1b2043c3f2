"""A listener's address as a tag's value, and the server's first one: the tag ``bind``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from itertools import chain
from typing import TYPE_CHECKING, Any

from gunicorn_backlog._threads.unpatched import Socket
from gunicorn_backlog.config.tags import clean
from gunicorn_backlog.sampling.queue_readers import numeric

if TYPE_CHECKING:
    from gunicorn_backlog import _gunicorn


def first_listener(found: Sequence[_gunicorn.Listener], cfg: _gunicorn.Config) -> str:
    """Return the tag's value of the first listener in gunicorn's order; empty if it was closed."""
    address = _first_address(cfg) if cfg.reuse_port else None
    if isinstance(address, tuple) and (address[1] or not found):
        return tag_text((numeric(address[0]) or address[0], address[1]))
    if found:  # of an address with port 0, too: the socket's own is the real one
        sock: Any = found[0].sock
        with suppress(OSError):
            return tag_text(sock.getsockname()) if sock is not None else ""
    elif address is not None:
        return tag_text(_inherited(address) if isinstance(address, int) else address)
    return ""


def _first_address(cfg: _gunicorn.Config) -> tuple[str, int] | str | int | None:
    """Return the first configured address; gunicorn ignores all others beside a descriptor."""
    descriptors = (it for it in cfg.address if isinstance(it, int))
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
    """Return a Unix path or a descriptor as gunicorn's ``bind`` has it."""
    return f"fd://{address}" if isinstance(address, int) else address


def tag_text(address: Any) -> str:
    """Return the address as the value of the tags ``listener`` and ``bind``."""
    return clean(tag_value(address))


def tag_value(address: Any) -> str:
    """Return a listening socket's address as the value of the tag ``listener``.

    ``127.0.0.1:8000``; ``::1:8000`` (what follows the last colon is the port); the path of a Unix
    socket, absolute because two servers may have the same relative one; ``abstract:name`` of one
    in the abstract namespace.
    """
    if isinstance(address, tuple):
        return f"{address[0]}:{address[1]}"
    path = address.decode(errors="replace") if isinstance(address, bytes) else str(address)
    if path.startswith("\0"):
        return f"abstract:{path[1:]}"
    return path if path.startswith(("/", "fd://")) else _absolute(path)


def _absolute(path: str) -> str:
    try:
        return os.path.join(os.getcwd(), path)
    except OSError:  # the working directory was removed
        return path
