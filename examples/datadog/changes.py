"""What has to be changed in an account, and how: all of it, or nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from account import ApplyError, Json, RefusedError, call, changed
from differences import differences
from existing import Account, Found
from merging import as_it_was, merged
from stopping import Stop
from wanted import Wanted


@dataclass(frozen=True)
class Change:
    """An object that is to be created (``found`` is None) or changed."""

    wanted: Wanted
    found: Found | None
    differences: tuple[str, ...] = ()

    @property
    def body(self) -> Json:
        """What it is to say, all of it."""
        it = self.wanted
        return merged(it.kind, it.body, self.found.body) if self.found else it.body

    @property
    def sent(self) -> Json:
        """What to send to its place; a monitor's type can't be changed."""
        if self.wanted.kind != "monitor":
            return self.body
        return {name: value for name, value in self.body.items() if name != "type"}


class Plan(NamedTuple):
    """What is to be done; metrics that Datadog never got have no metadata yet."""

    changes: list[Change]
    never_sent: list[str]


def plan(all_wanted: list[Wanted]) -> Plan:
    """Return what is to be done, once Datadog found all of it right. Raises ApplyError."""
    account = Account()
    changes, never_sent = [], []
    for it in all_wanted:
        found = account.find(it)
        if found is None and it.kind == "metric":
            never_sent.append(it.key)
            continue
        differ = tuple(differences(it.body, found.body)) if found else ()
        if found is None or differ:
            changes.append(Change(it, found, differ))
    for change in changes:
        _check(change)
    return Plan(changes, never_sent)


def _check(change: Change) -> None:
    if change.wanted.kind != "monitor":
        return
    if any(line.startswith("type: ") for line in change.differences):
        raise ApplyError(f"{change.wanted.title}: its type can't be changed; delete it first")
    call("POST", "monitor/validate", change.body)


def carry_out(changes: list[Change], stop: Stop) -> None:
    """Make all changes, or none. Raises ApplyError."""
    begun: list[Change] = []
    try:
        for change in changes:
            with stop.allowed():
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
    if change.found:
        changed("PUT", change.found.path, change.sent)
    else:
        changed("POST", change.wanted.kind, change.wanted.body)


def _was_taken_back(change: Change) -> bool:
    it, found = change.wanted, change.found
    try:
        if found:
            changed("PUT", found.path, as_it_was(it.kind, change.sent, found.body))
        elif made := Account().find(it):
            call("DELETE", made.path)
    except ApplyError:
        return False
    return True
