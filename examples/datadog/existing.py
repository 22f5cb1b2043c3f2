"""The existing objects of an account."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from account import NOT_DATADOG, ApplyError, Json, NotFoundError, call
from wanted import OURS, Wanted, own_tag

PAGE = 100  # dashboards in one answer


@dataclass(frozen=True)
class Found:
    """An object of the account: its path in the API, and its content."""

    path: str
    body: Json


class Account:
    """The objects that may be ours, as read by the constructor, which raises ApplyError."""

    def __init__(self) -> None:
        try:
            self._monitors = _by_key(
                (own_tag(monitor["tags"]), _monitor(monitor))
                for monitor in call("GET", "monitor", monitor_tags=OURS)
            )
            self._dashboards = _by_key(
                (dashboard["title"], Found(f"dashboard/{dashboard['id']}", dashboard))
                for dashboard in _dashboards()
            )
        except (LookupError, TypeError):
            raise ApplyError(NOT_DATADOG) from None

    def find(self, wanted: Wanted) -> Found | None:
        """Return the existing object, or None; also None for a metric that was never sent.

        Raises ApplyError if several objects have the same key.
        """
        kind, key = wanted.kind, wanted.key
        if kind == "metric":
            return _metadata(key)
        found = (self._monitors if kind == "monitor" else self._dashboards).get(key, [])
        if len(found) > 1:
            paths = ", ".join(one.path for one in found)
            raise ApplyError(
                f"{wanted.title}: there are {len(found)} ({paths}); delete all but one"
            )
        if found and kind == "dashboard":  # the list has no widgets
            return _found(found[0].path)
        return found[0] if found else None


def _dashboards() -> list[Json]:
    """Return all dashboards, without their widgets, page by page."""
    found: dict[str, Json] = {}
    while True:
        page = call("GET", "dashboard", count=PAGE, start=len(found))["dashboards"]
        before = len(found)
        found |= {dashboard["id"]: dashboard for dashboard in page}
        if len(page) < PAGE or len(found) == before:
            return list(found.values())


def _metadata(name: str) -> Found | None:
    try:
        return _found(f"metrics/{name}")
    except NotFoundError:
        return None


def _found(path: str) -> Found:
    body = call("GET", path)
    if not isinstance(body, dict):
        raise ApplyError(f"GET {path}: {NOT_DATADOG}")
    return Found(path, body)


def _monitor(monitor: Json) -> Found:
    if not isinstance(monitor.get("options") or {}, dict):
        raise TypeError("options are an object")
    return Found(f"monitor/{monitor['id']}", monitor)


def _by_key(pairs: Iterable[tuple[str, Found]]) -> dict[str, list[Found]]:
    found: dict[str, list[Found]] = {}
    for key, one in pairs:
        found.setdefault(key, []).append(one)
    return found
