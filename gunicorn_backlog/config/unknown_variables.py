"""Environment variables with our prefix that are not settings: mistyped, or set by Kubernetes."""

from __future__ import annotations

import re
from collections.abc import Iterable

from gunicorn_backlog.config.options import ENVIRONMENT_PREFIX, OPTIONS

# Kubernetes and Docker set these in each container beside a Service or container whose name starts
# with "gunicorn-backlog". Sources: pkg/kubelet/envvars/envvars.go in Kubernetes, ToEnv in
# daemon/links/links.go in Docker (links by ``--link``).
_SERVICE_LINK = re.compile(
    ENVIRONMENT_PREFIX.removesuffix("_") + r"(_[A-Z0-9_.]+)?_("
    r"SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?"
    r"|PORT(_\d+_(TCP|UDP|SCTP)(_PROTO|_ADDR|(_PORT)?(_START|_END)?))?"
    r"|NAME|ENV_.+)",
    re.ASCII,
)
_SHOWN = 5
_LONGEST = 80  # characters of a name


def unknown_variables(names: Iterable[str]) -> list[str]:
    """Return one line about all variables that look like a setting and are none, or no line.

    They are no error: a Service's name must not stop the servers in its namespace.
    """
    known = [option.variable for option in OPTIONS.values()]
    unknown = sorted(name for name in names if _is_ours(name) and name not in known)
    if not unknown:
        return []
    listed = ", ".join(map(_short, unknown[:_SHOWN]))
    more = f" and {len(unknown) - _SHOWN} more" if len(unknown) > _SHOWN else ""
    return [f"there is no setting {listed}{more} (settings: {', '.join(known)})"]


def _is_ours(name: str) -> bool:
    return name.startswith(ENVIRONMENT_PREFIX) and not _SERVICE_LINK.fullmatch(name)


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST else f"{name[:_LONGEST]}..."
