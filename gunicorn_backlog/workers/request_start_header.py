"""``X-Request-Start``: when a proxy passed a request on, in the proxy's own words.

Proxies write seconds, milliseconds or microseconds since 1970, as a whole number or with decimals,
with ``t=`` before it or without; the number of digits before the point says which it is. nginx's
``$msec`` is ``1700000000.123``.
"""

from __future__ import annotations

import re

LONGEST_S = 600.0
ROUNDED_S = 0.001  # how far in the future a start may be that was rounded

_START = re.compile(r"\s*(?:t=)?(\d{10}(?:\d{3}){0,2})(\.\d{1,9})?\s*", re.ASCII)
_PER_SECOND = {10: 1, 13: 10**3, 16: 10**6}


def waited_s(value: str, now_s: float) -> float | None:
    """Return how long ago the request was passed on; None if the value does not tell.

    :param now_s: the time of day, in seconds since 1970.
    """
    found = _START.fullmatch(value)
    if found is None:
        return None
    whole, fraction = found.groups(default="")
    passed_s = now_s - float(whole + fraction) / _PER_SECOND[len(whole)]
    if not -ROUNDED_S <= passed_s <= LONGEST_S:
        return None
    return max(0.0, passed_s)
