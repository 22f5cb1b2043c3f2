"""What to send where an object is there already: ours, and what its owners added to it.

The API takes a monitor's ``options`` and ``tags``, and a dashboard, as a whole: what is not sent is
gone.
"""

from __future__ import annotations

from account import Json
from differences import dropped
from wanted import Kind

MONITORS_OWN = ("priority", "restricted_roles")  # that we don't set
READ_ONLY = ("id", "url", "author_handle", "author_name", "created_at", "modified_at")
# What is answered beside an option, but not taken beside it.
EXCLUDES = {
    "on_missing_data": ("notify_no_data", "no_data_timeframe"),
    "new_group_delay": ("new_host_delay",),
}


def merged(kind: Kind, ours: Json, theirs: Json) -> Json:
    """Return an object that says what ours says, and for the rest what it said.

    Of a monitor tags and options are added up, an option that both have is ours, and a threshold
    that is not in ours any more is gone. Of a dashboard each field that we have is ours.
    """
    if kind == "monitor":
        tags = [*theirs["tags"], *(tag for tag in ours["tags"] if tag not in theirs["tags"])]
        options = _sendable(_deep(theirs.get("options") or {}, ours["options"]))
        for name in dropped(ours["options"]["thresholds"], options["thresholds"]):
            del options["thresholds"][name]
        return _kept(theirs) | ours | {"tags": tags, "options": options}
    if kind == "dashboard":
        return _writable(theirs) | ours
    return ours


def as_it_was(kind: Kind, sent: Json, theirs: Json) -> Json:
    """Return what to send to take back what was sent; metadata can't be deleted, but emptied."""
    if kind == "metric":
        return {name: theirs.get(name) or "" for name in sent if name != "statsd_interval"}
    if kind == "dashboard":
        return _writable(theirs)
    was = {name: theirs.get(name) for name in sent}
    return was | {"options": _sendable(theirs.get("options") or {})}


def _deep(theirs: Json, ours: Json) -> Json:
    both = {
        name: _deep(theirs[name], it)
        for name, it in ours.items()
        if isinstance(it, dict) and isinstance(theirs.get(name), dict)
    }
    return theirs | ours | both


def _sendable(options: Json) -> Json:
    """Leave out what the API answers of options, but does not take."""
    unset = {name for name in EXCLUDES if options.get(name) is None}
    beside = {it for name, others in EXCLUDES.items() if name not in unset for it in others}
    return {name: it for name, it in options.items() if name not in unset | beside}


def _kept(monitor: Json) -> Json:
    return {name: monitor[name] for name in MONITORS_OWN if monitor.get(name) is not None}


def _writable(dashboard: Json) -> Json:
    return {name: it for name, it in dashboard.items() if name not in READ_ONLY and it is not None}
