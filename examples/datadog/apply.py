"""Put the monitors, the dashboard and the metrics' metadata of this folder into a Datadog account.

    export DD_API_KEY=... DD_APP_KEY=... DD_SITE=datadoghq.eu
    python examples/datadog/apply.py --dry-run           # say what would change
    python examples/datadog/apply.py --notify @slack-ops

What is there already is changed where it differs; a second run changes nothing. If one change is
refused, those before it are taken back.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from account import ApplyError, Json, NotFoundError, RefusedError, call, connect
from differences import differences
from wanted import OURS, Wanted, own_tag, wanted


@dataclass(frozen=True)
class Found:
    """An object of the account: where it is, and what it says."""

    path: str
    body: Json


@dataclass(frozen=True)
class Change:
    """An object that is to be created (``found`` is None) or changed."""

    wanted: Wanted
    found: Found | None
    differences: tuple[str, ...] = ()

    @property
    def path(self) -> str:
        """Where it is put; "" if it has no place yet. A metric has one by its name."""
        if self.wanted.kind == "metric":
            return f"metrics/{self.wanted.key}"
        return self.found.path if self.found else ""

    @property
    def sent(self) -> Json:
        """What to send to its place; a type can't be changed."""
        body = self.wanted.body
        return body if self.wanted.kind == "metric" else _without(body, "type")

    @property
    def before(self) -> Json:
        """What to send to its place to take it back."""
        was = self.found.body if self.found else {}
        if self.wanted.kind == "metric":
            return {name: was.get(name) or "" for name in _without(self.sent, "statsd_interval")}
        return {name: was.get(name) for name in self.sent}


def _without(body: Json, name: str) -> Json:
    return {key: value for key, value in body.items() if key != name}


class Account:
    """The objects that may be ours, as they were when we began. Raises ApplyError."""

    def __init__(self) -> None:
        monitors, dashboards = call("GET", "monitor", monitor_tags=OURS), call("GET", "dashboard")
        try:
            self._monitors = _by_key(
                (own_tag(monitor["tags"]), Found(f"monitor/{monitor['id']}", monitor))
                for monitor in monitors
            )
            self._dashboards = _by_key(
                (dashboard["title"], Found(f"dashboard/{dashboard['id']}", dashboard))
                for dashboard in dashboards["dashboards"]
            )
        except (LookupError, TypeError):
            raise ApplyError("what answers is not Datadog's API; check DD_SITE") from None

    def find(self, it: Wanted) -> Found | None:
        """Return the object that is to be as wanted, if there is one."""
        if it.kind == "metric":
            return self._metadata(it.key)
        found = (self._monitors if it.kind == "monitor" else self._dashboards).get(it.key, [])
        if len(found) > 1:
            paths = ", ".join(one.path for one in found)
            raise ApplyError(f"{it.title}: there are {len(found)} ({paths}); delete all but one")
        if found and it.kind == "dashboard":  # the list has no widgets
            return Found(found[0].path, call("GET", found[0].path))
        return found[0] if found else None

    def _metadata(self, name: str) -> Found | None:
        try:
            return Found(f"metrics/{name}", call("GET", f"metrics/{name}"))
        except NotFoundError:
            return None


def _by_key(pairs: Iterator[tuple[str, Found]]) -> dict[str, list[Found]]:
    found: dict[str, list[Found]] = {}
    for key, one in pairs:
        found.setdefault(key, []).append(one)
    return found


def plan(all_wanted: list[Wanted]) -> list[Change]:
    """Return what is to be done, once Datadog found all of it right. Raises ApplyError."""
    account = Account()
    changes = []
    for it in all_wanted:
        found = account.find(it)
        differ = tuple(differences(it.body, found.body)) if found else ()
        if found is None or differ:
            changes.append(Change(it, found, differ))
    for change in changes:
        _check(change)
    return changes


def _check(change: Change) -> None:
    if change.wanted.kind != "monitor":
        return
    if any(line.startswith("type: ") for line in change.differences):
        raise ApplyError(f"{change.wanted.title}: its type can't be changed; delete it first")
    call("POST", "monitor/validate", change.wanted.body)


def carry_out(changes: list[Change]) -> None:
    """Make all changes, or none. Raises ApplyError."""
    begun: list[Change] = []
    try:
        for change in changes:
            begun.append(change)
            _make(change)
    except (ApplyError, KeyboardInterrupt) as error:
        if isinstance(error, RefusedError):
            begun.pop()  # of any other error one can't tell whether it was carried out
        left = [it.wanted.title for it in reversed(begun) if not _was_taken_back(it)]
        state = f"may be left as it is now: {', '.join(left)}" if left else "nothing was changed"
        what = "stopped" if isinstance(error, KeyboardInterrupt) else error
        raise ApplyError(f"{what}; {state}") from None


def _make(change: Change) -> None:
    it = change.wanted
    if change.path:
        call("PUT", change.path, change.sent)
    else:
        call("POST", it.kind, it.body)


def _was_taken_back(change: Change) -> bool:
    try:
        if change.path:
            call("PUT", change.path, change.before)
        elif made := Account().find(change.wanted):
            call("DELETE", made.path)
    except ApplyError:
        return False
    return True


def _show(change: Change, dry_run: bool) -> None:
    verb = "change" if change.found else "create"
    print(f"{'would ' if dry_run else ''}{verb} {change.wanted.title}")
    for line in change.differences:
        print(f"    {line}")


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--dry-run", action="store_true", help="say what would be changed")
    parser.add_argument("--notify", action="append", default=[], metavar="@HANDLE")
    arguments = parser.parse_args()
    try:
        all_wanted = wanted(notify=arguments.notify)
        connect()
        changes = plan(all_wanted)
        if not arguments.dry_run:
            carry_out(changes)
    except (ApplyError, OSError, ValueError) as error:
        sys.exit(f"apply: {error}")
    except KeyboardInterrupt:
        sys.exit("apply: stopped")
    for change in changes:
        _show(change, arguments.dry_run)
    created = sum(change.found is None for change in changes)
    unchanged = len(all_wanted) - len(changes)
    print(f"{created} to create" if arguments.dry_run else f"{created} created", end=", ")
    print(f"{len(changes) - created} {'to change' if arguments.dry_run else 'changed'}", end=", ")
    print(f"{unchanged} unchanged")


if __name__ == "__main__":
    main()
