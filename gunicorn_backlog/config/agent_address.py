"""The Agent's address, from a URL, Datadog's environment variables or gunicorn's setting."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import NamedTuple, TypeVar
from urllib.parse import urlsplit

T = TypeVar("T")

DEFAULT_PORT = 8125
SCHEMES = ("udp", "unix", "unixgram", "unixstream")
URL_FORMS = "udp://host:port, unix:///path, unixgram:///path or unixstream:///path"

DISABLED = "DD_DOGSTATSD_DISABLE is set: nothing is sent"

_DISABLING = frozenset({"True", "true", "yes", "1"})  # as in the ``datadog`` client
_HOST_MAX = 253  # characters, RFC 1035
_SUN_PATH_MAX = 107  # bytes: sizeof(sockaddr_un.sun_path) less the closing NUL


class Address(NamedTuple):
    """A DogStatsD address.

    ``scheme`` is one of SCHEMES. ``host`` and ``port`` are set for ``udp``, ``path`` for the other
    schemes. ``unix`` means a datagram socket, or a stream socket if one listens at the path.
    """

    scheme: str
    host: str = ""
    port: int = 0
    path: str = ""

    def __str__(self) -> str:
        if self.scheme != "udp":
            return f"{self.scheme}://{self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


DEFAULT = Address("udp", host="localhost", port=DEFAULT_PORT)


def parse(url: str) -> Address:
    """Return the address in one of URL_FORMS; udp's default port is 8125. Raises ValueError."""
    _check_printable(url)
    parts = urlsplit(url)
    if parts.scheme not in SCHEMES:
        raise ValueError(f"the scheme is {parts.scheme!r}")
    if parts.scheme == "udp":
        user, at, _ = parts.netloc.rpartition("@")
        rest = user + at + parts.path.strip("/") + parts.query + parts.fragment
        return _udp(parts.hostname, parts.port, rest)
    if parts.netloc:
        raise ValueError("the path is not absolute (three slashes)")
    return unix(url.partition("://")[2], scheme=parts.scheme)


def _udp(host: str | None, port: int | None, rest: str) -> Address:
    if not host:
        raise ValueError("there is no host")
    if rest:
        raise ValueError(f"there is more than host and port: {rest!r}")
    if port == 0:
        raise ValueError("Port out of range 1-65535")
    return Address("udp", host=_host(host), port=DEFAULT_PORT if port is None else port)


def _host(host: str) -> str:
    """Return a host that ``getaddrinfo`` accepts, unchanged. Raises ValueError for others."""
    _check_printable(host)
    try:
        # getaddrinfo encodes names with this codec, whose import takes 144 kB of memory.
        if host != "localhost" and number_family(host) is None:
            host.encode("idna")
    except UnicodeError:
        raise ValueError(f"{host!r} is no host name") from None
    if len(host) > _HOST_MAX:
        raise ValueError(f"the host is longer than {_HOST_MAX} characters")
    return host


def is_localhost(host: str) -> bool:
    """Return whether a name denotes this host by definition (RFC 6761, 6.3), without a look-up."""
    name = f".{host.lower().removesuffix('.')}"
    return name.endswith(".localhost")


def _unbracketed(host: str) -> str:
    """Return an IPv6 address without the brackets of a URL, and other hosts unchanged."""
    inside = host[1:-1]
    return inside if host == f"[{inside}]" and ":" in inside else host


def _check_printable(text: str) -> None:
    if any(character.isspace() or not character.isprintable() for character in text):
        raise ValueError("blanks and control characters are not allowed")


def unix(path: str, *, scheme: str = "unix") -> Address:
    """Return the address of a Unix socket. Raises ValueError for a relative or too long path."""
    if not path.startswith("/") or path == "/":
        raise ValueError("the path is not absolute (three slashes)")
    if len(path.encode()) > _SUN_PATH_MAX:
        raise ValueError(f"the path is longer than {_SUN_PATH_MAX} bytes")
    return Address(scheme, path=path)


def from_datadog(environ: Mapping[str, str], unusable: list[str]) -> tuple[Address, str] | None:
    """Return the address in Datadog's variables and the names of these variables, or None.

    As in the ``datadog`` client, ``DD_DOGSTATSD_URL`` takes precedence over ``DD_AGENT_HOST`` and
    ``DD_DOGSTATSD_PORT``. An invalid variable is ignored.

    :param unusable: receives one line for each ignored variable, with the reason.
    """

    def usable(name: str, read: Callable[[str], T]) -> T | None:
        text = environ.get(name)
        try:
            return read(text) if text else None
        except ValueError as error:
            unusable.append(f"{name}={text!r}: {error}")
            return None

    if (url := usable("DD_DOGSTATSD_URL", parse)) is not None:
        return url, "DD_DOGSTATSD_URL"
    host = usable("DD_AGENT_HOST", lambda text: _host(_unbracketed(text)))
    port = usable("DD_DOGSTATSD_PORT", _port)
    parts = {"DD_AGENT_HOST": host, "DD_DOGSTATSD_PORT": port}
    named = [name for name, value in parts.items() if value is not None]
    if not named:
        return None
    address = Address("udp", host=host or "localhost", port=port or DEFAULT_PORT)
    return address, " and ".join(named)


def is_disabled(environ: Mapping[str, str]) -> bool:
    """Return whether Datadog's variable switches DogStatsD off."""
    return environ.get("DD_DOGSTATSD_DISABLE") in _DISABLING


def _port(text: str) -> int:
    port = int(text) if text.isascii() and text.isdigit() and len(text) <= 5 else 0
    if 1 <= port <= 65535:
        return port
    raise ValueError("no port from 1 to 65535")


def from_gunicorn(statsd_host: object) -> Address | None:
    """Return the address in gunicorn's ``statsd_host``, or None. Raises ValueError.

    gunicorn has parsed the setting into ``(host, port)`` or the path of a socket.
    """
    match statsd_host:
        case (str(host), int(port)):
            return Address("udp", host=_host(_unbracketed(host) or "localhost"), port=port)
        case str(path) if path:
            _check_printable(path)
            return unix(path)
        case _:
            return None


def number_family(host: str) -> int | None:
    """Return the address family of an IP address; None for a host name."""
    for family, address in ((socket.AF_INET, host), (socket.AF_INET6, host.partition("%")[0])):
        with suppress(OSError):
            socket.inet_pton(family, address)
            return family
    return None


def is_local(address: Address) -> bool:
    """Return whether the address needs no look-up: a path, an IP address or localhost."""
    host = address.host
    if address.scheme != "udp" or is_localhost(host):
        return True
    return number_family(host) is not None
