"""The merge of our files with existing objects, which keeps the additions of their owners.

The API replaces a monitor's ``options`` and ``tags``, and a dashboard, as a whole: fields that are
not sent are deleted.
"""

from __future__ import annotations

from account import Json
from differences import dropped
from wanted import Kind

MONITORS_OWN = ("priority", "restricted_roles")  # fields that our files do not set
READ_ONLY = ("id", "url", "author_handle", "author_name", "created_at", "modified_at")
# Fields that the API returns beside an option, and refuses beside the same option.
EXCLUDES = {
    "on_missing_data": ("notify_no_data", "no_data_timeframe"),
    "new_group_delay": ("new_host_delay",),
}


def merged(kind: Kind, ours: Json, theirs: Json) -> Json:
    """Return the existing object with our values.

    A monitor has the tags and options of both. Our value of an option takes precedence, and a
    threshold that our file has no more is removed. A dashboard has all of our fields.
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
    """Return the content that undoes a change; metadata can be emptied, but not deleted.

    :param sent: the content of the change.
    :param theirs: the object before the change.
    """
    if kind == "metric":
        return {name: theirs.get(name) or "" for name in sent if name != "statsd_interval"}
    if kind == "dashboard":
        return _writable(theirs)
    was = {name: theirs.get(name) for name in sent}
    return was | {"options": _sendable(theirs.get("options") or {})}


def _deep(theirs: Json, ours: Json) -> Json:
    both = {
        name: _deep(theirs[name], value)
        for name, value in ours.items()
        if isinstance(value, dict) and isinstance(theirs.get(name), dict)
    }
    return theirs | ours | both


def _sendable(options: Json) -> Json:
    """Return the options without those that the API returns, but refuses."""
    unset = {name for name in EXCLUDES if options.get(name) is None}
    beside = {other for name, others in EXCLUDES.items() if name not in unset for other in others}
    return {name: value for name, value in options.items() if name not in unset | beside}


def _kept(monitor: Json) -> Json:
    return {name: monitor[name] for name in MONITORS_OWN if monitor.get(name) is not None}


def _writable(dashboard: Json) -> Json:
    writable = {name: value for name, value in dashboard.items() if name not in READ_ONLY}
    return {name: value for name, value in writable.items() if value is not None}
