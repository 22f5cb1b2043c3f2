"""Put the monitors, the dashboard and the metrics' metadata of this folder into a Datadog account.

    export DD_API_KEY=... DD_APP_KEY=... DD_SITE=datadoghq.eu
    python examples/datadog/apply.py --dry-run           # say what would change
    python examples/datadog/apply.py --notify @slack-ops

What is there already is changed where it differs; a second run changes nothing. If one change is
refused, those before it are taken back.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from account import ApplyError, Json, NotFoundError, call, connect
from wanted import OURS, Wanted, own_tag, wanted

LONGEST = 60  # characters of a value that is shown
# The API takes either name for the other, and may answer with it.
SAME_TYPES = ({"query alert", "metric alert"},)


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


class Account:
    """The objects that may be ours, as they were when we began. Raises ApplyError."""

    def __init__(self) -> None:
        self._monitors = _by_key(
            (own_tag(monitor["tags"]), Found(f"monitor/{monitor['id']}", monitor))
            for monitor in call("GET", "monitor", monitor_tags=OURS)
        )
        self._dashboards = _by_key(
            (dashboard["title"], Found(f"dashboard/{dashboard['id']}", dashboard))
            for dashboard in call("GET", "dashboard")["dashboards"]
        )

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


def differences(want: Any, have: Any, path: str = "") -> Iterator[str]:
    """Say where ``have`` is not as wanted; what it has besides is left alone."""
    if isinstance(want, dict) and isinstance(have, dict):
        for name, inner in want.items():
            yield from differences(inner, have.get(name), f"{path}.{name}" if path else name)
    elif isinstance(want, list) and isinstance(have, list) and len(want) == len(have):
        if path == "tags":
            want, have = sorted(want), sorted(have)
        for number, (inner, its) in enumerate(zip(want, have, strict=True)):
            yield from differences(inner, its, f"{path}[{number}]")
    elif want != have and not any({want, have} <= same for same in SAME_TYPES if path == "type"):
        yield f"{path}: {_short(have, want)} -> {_short(want, have)}"


def _short(value: Any, other: Any) -> str:
    """Return a value as JSON; of a long one what comes where it differs from the other."""
    text, its = (json.dumps(it, ensure_ascii=False) for it in (value, other))
    if len(text) <= LONGEST:
        return text
    pairs = zip(text, its, strict=False)
    differ = next((at for at, (one, another) in enumerate(pairs) if one != another), len(its))
    begin = max(0, differ - LONGEST // 2)
    end = begin + LONGEST
    return f"{'...' if begin else ''}{text[begin:end]}{'...' if end < len(text) else ''}"


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
    done: list[tuple[str, str, Json | None]] = []  # the way back: method, path, body
    try:
        for change in changes:
            done.append(_make(change))
    except BaseException as error:
        left = [path for method, path, body in reversed(done) if not _undo(method, path, body)]
        if isinstance(error, ApplyError):
            state = f"could not be taken back: {', '.join(left)}" if left else "nothing was changed"
            raise ApplyError(f"{error}; {state}") from None
        raise


def _make(change: Change) -> tuple[str, str, Json | None]:
    """Make one change, and return how to take it back."""
    it, found = change.wanted, change.found
    if it.kind == "metric":
        path = f"metrics/{it.key}"
        call("PUT", path, it.body)
        before = found.body if found else {}
        back = {name: before.get(name) or "" for name in it.body if name != "statsd_interval"}
        return "PUT", path, back
    if found is None:
        made = call("POST", it.kind, it.body)
        return "DELETE", f"{it.kind}/{made['id']}", None
    body = {name: value for name, value in it.body.items() if name != "type"}
    call("PUT", found.path, body)
    return "PUT", found.path, {name: found.body.get(name) for name in body}


def _undo(method: str, path: str, body: Json | None) -> bool:
    try:
        call(method, path, body)
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
