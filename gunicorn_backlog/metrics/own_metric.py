"""gunicorn's own metric ``gunicorn.backlog``, and how it clashes with ours."""

from __future__ import annotations

REMEDY = "unset enable_backlog_metric: it has no listener and no limit"


def clash(backlog_type: str) -> str:
    """Return what it means that gunicorn pushes a metric of that name, too."""
    text = "enable_backlog_metric is on: gunicorn pushes a histogram gunicorn.backlog of its own, "
    if backlog_type == "histogram":
        return text + "and graphs and monitors that select no tag mix it with ours"
    return text + f"and ours of that name is a {backlog_type}: a server may drop one of the two"
