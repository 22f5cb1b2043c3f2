"""``X-Request-Start`` and ``X-Queue-Start``: the time at which a proxy passed a request on.

Proxies write seconds, milliseconds or microseconds since 1970, as a whole number or with decimals,
with or without the prefix ``t=``. The number of digits before the point determines the unit.
nginx's ``$msec`` is ``1700000000.123``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

HEADERS = ("X-REQUEST-START", "X-QUEUE-START")  # gunicorn writes names in capitals
LONGEST_S = 600.0
ROUNDED_S = 0.001  # a rounded start may lie in the future by this much

_START = re.compile(r"\s*(?:t=)?(\d{10}(?:\d{3}){0,2})(\.\d{1,9})?\s*", re.ASCII)
_PER_SECOND = {10: 1, 13: 10**3, 16: 10**6}

# Errors of a header's wait in a subclass that passes other arguments than gunicorn does.
NO_REQUEST = (AttributeError, IndexError, TypeError, ValueError)


def header_wait_s(headers: Iterable[tuple[str, str]], now_s: float) -> float | None:
    """Return the time since a proxy passed the request on, in s; None without a valid header.

    The last of several equal headers counts: a proxy appends its header to a client's.

    :param now_s: the time of day, in seconds since 1970.
    """
    for wanted in HEADERS:
        values = [value for name, value in headers if name == wanted]
        wait_s = waited_s(values[-1], now_s) if values else None
        if wait_s is not None:
            return wait_s
    return None


def waited_s(value: str, now_s: float) -> float | None:
    """Return the seconds from a header's value until ``now_s``; None for an invalid value."""
    match = _START.fullmatch(value)
    if match is None:
        return None
    whole, fraction = match.groups(default="")
    wait_s = now_s - float(whole + fraction) / _PER_SECOND[len(whole)]
    if not -ROUNDED_S <= wait_s <= LONGEST_S:
        return None
    return max(0.0, wait_s)
