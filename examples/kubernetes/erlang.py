"""Erlang's C formula: the share of requests that wait, with independent arrivals."""

from __future__ import annotations

import math

TARGETS = (40, 50, 60, 70, 80)  # percent
SERVERS = (2, 4, 8, 16, 32)


def waiting(servers: int, offered: float) -> float:
    """Return the share of requests that wait at all in an M/M/c queue.

    :param servers: number of workers of a pod, or of its workers' threads.
    :param offered: average number of busy ones, less than ``servers``.
    """
    last = offered**servers / math.factorial(servers) * servers / (servers - offered)
    return last / (sum(offered**k / math.factorial(k) for k in range(servers)) + last)


def late(servers: int, offered: float, objective: float) -> float:
    """Return the share of requests that wait longer than ``objective``, in service times."""
    return waiting(servers, offered) * math.exp((offered - servers) * objective)


def table() -> str:
    """Return the README's table of shares that wait longer than a request takes, as Markdown."""
    lines = [["workers of a pod", *(f"{target} % busy" for target in TARGETS)]]
    lines.append(["---"] * len(lines[0]))
    for servers in SERVERS:
        shares = [100 * late(servers, servers * target / 100, 1.0) for target in TARGETS]
        lines.append([str(servers), *(f"{share:.1f} %" for share in shares)])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
