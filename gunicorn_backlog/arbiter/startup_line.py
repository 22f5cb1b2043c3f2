"""The startup line: one log line that describes the monitor at the start and after changes."""

from __future__ import annotations

from collections.abc import Sequence

from gunicorn_backlog import __version__
from gunicorn_backlog.config.agent_address import DISABLED
from gunicorn_backlog.config.options import GROUPS, Group
from gunicorn_backlog.scoreboard.server_info import ServerInfo

SWITCHED_OFF = f"{__version__} is switched off (enabled is False): nothing is pushed"
LISTENERS_MAX = 8  # named in the line


def startup_line(server_info: ServerInfo, workers: int, groups: Sequence[Group] = GROUPS) -> str:
    """Return version, workers, listeners, interval, and the Agent's address and its source.

    :param workers: gunicorn's setting ``workers``.
    :param groups: the groups of metrics that are pushed; named unless these are all.
    """
    address = f"{server_info.agent} (from {server_info.agent_from})"
    pushes = f"pushes every {server_info.interval_s:g} s to {address}{_only(groups)}"
    if server_info.agent_error == DISABLED:
        pushes = f"pushes nothing: {DISABLED}"
    plural = "" if workers == 1 else "s"
    return (
        f"{server_info.version}: {workers} {server_info.worker_class} worker{plural}, "
        f"listening at {_listed([each.listener for each in server_info.listeners])}; {pushes}"
    )


def _only(groups: Sequence[Group]) -> str:
    """Return a note about the metrics that are left out."""
    if set(groups) == set(GROUPS):
        return ""
    named = ", ".join(groups)
    return f", only the metrics {named} and is_running" if named else ", only is_running"


def _listed(names: list[str]) -> str:
    listed = ", ".join(names[:LISTENERS_MAX]) or "nothing yet"
    more = len(names) - LISTENERS_MAX
    return f"{listed} and {more} more" if more > 0 else listed
