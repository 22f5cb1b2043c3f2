"""The clash of gunicorn's own metric ``gunicorn.backlog`` with ours."""

from __future__ import annotations

REMEDY = "unset enable_backlog_metric: it has no listener and no limit"


def clash(backlog_type: str) -> str:
    """Return a warning that gunicorn, too, pushes a metric ``gunicorn.backlog``.

    :param backlog_type: the type of our metric.
    """
    text = "enable_backlog_metric is on: gunicorn pushes a histogram gunicorn.backlog of its own, "
    if backlog_type == "histogram":
        return text + "and graphs and monitors that select no tag mix it with ours"
    return text + f"and ours of that name is a {backlog_type}: a server may drop one of the two"
