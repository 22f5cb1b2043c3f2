"""Unknown environment variables with this package's prefix."""

from __future__ import annotations

import re
from collections.abc import Iterable

from gunicorn_backlog.config.options import ENVIRONMENT_PREFIX, VARIABLES

# Kubernetes and Docker set these variables for a Service or a linked container whose name starts
# with "gunicorn-backlog". Sources: pkg/kubelet/envvars/envvars.go in Kubernetes, ToEnv in
# daemon/links/links.go in Docker.
_SERVICE_LINK = re.compile(
    ENVIRONMENT_PREFIX.removesuffix("_") + r"(_[A-Z0-9_.]+)?_("
    r"SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?"
    r"|PORT(_\d+_(TCP|UDP|SCTP)(_PROTO|_ADDR|(_PORT)?(_START|_END)?))?"
    r"|NAME|ENV_.+)",
    re.ASCII,
)
_NAMES_MAX = 5  # in the line
_NAME_MAX = 80  # characters


def unknown_variables(names: Iterable[str]) -> list[str]:
    """Return one line that lists all unknown variables, or an empty list.

    An unknown variable is no error: a Kubernetes Service's name must not stop the servers in its
    namespace.
    """
    ours = [name for name in names if name.startswith(ENVIRONMENT_PREFIX)]
    unknown = sorted(it for it in ours if it not in VARIABLES and not _SERVICE_LINK.fullmatch(it))
    if not unknown:
        return []
    short = [it if len(it) <= _NAME_MAX else f"{it[:_NAME_MAX]}..." for it in unknown]
    listed = ", ".join(short[:_NAMES_MAX])
    more = f" and {len(unknown) - _NAMES_MAX} more" if len(unknown) > _NAMES_MAX else ""
    return [f"there is no setting {listed}{more} (settings: {', '.join(VARIABLES)})"]
