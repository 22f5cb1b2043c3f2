"""The changes that an account needs, made completely or not at all."""

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
    """An object to create (``found`` is None) or to change."""

    wanted: Wanted
    found: Found | None
    differences: tuple[str, ...] = ()

    @property
    def body(self) -> Json:
        """The complete new content of the object."""
        kind, ours = self.wanted.kind, self.wanted.body
        return merged(kind, ours, self.found.body) if self.found else ours

    @property
    def sent(self) -> Json:
        """The content of a PUT request, without a monitor's type, which can't be changed."""
        if self.wanted.kind != "monitor":
            return self.body
        return {name: value for name, value in self.body.items() if name != "type"}


class Plan(NamedTuple):
    """All changes; ``never_sent``: metrics that Datadog has not received, without metadata."""

    changes: list[Change]
    never_sent: list[str]


def plan(all_wanted: list[Wanted]) -> Plan:
    """Return all changes after Datadog has validated the monitors. Raises ApplyError."""
    account = Account()
    changes, never_sent = [], []
    for each in all_wanted:
        found = account.find(each)
        if found is None and each.kind == "metric":
            never_sent.append(each.key)
            continue
        differ = tuple(differences(each.body, found.body)) if found else ()
        if found is None or differ:
            changes.append(Change(each, found, differ))
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
            begun.pop()  # after any other error the change may have been made
        left = [change.wanted.title for change in reversed(begun) if not _was_undone(change)]
        state = f"may be left as it is now: {', '.join(left)}" if left else "nothing was changed"
        what = "stopped" if isinstance(error, KeyboardInterrupt) else error
        raise ApplyError(f"{what}; {state}") from None


def _make(change: Change) -> None:
    if change.found:
        changed("PUT", change.found.path, change.sent)
    else:
        changed("POST", change.wanted.kind, change.wanted.body)


def _was_undone(change: Change) -> bool:
    """Undo a change; return whether that succeeded."""
    wanted, found = change.wanted, change.found
    try:
        if found:
            changed("PUT", found.path, as_it_was(wanted.kind, change.sent, found.body))
        elif made := Account().find(wanted):
            call("DELETE", made.path)
    except ApplyError:
        return False
    return True
