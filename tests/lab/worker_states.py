"""States of workers, for tests of what is made of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from gunicorn_backlog.scoreboard.owners import Owners
from gunicorn_backlog.scoreboard.states import Columns, State, States


def states_of(rows: Mapping[int, State], running: Collection[int] = ()) -> States:
    """Return states as they are read, of rows by pid; who else is running has no slot."""
    found = sorted((row.kind, pid) for pid, row in rows.items())
    pids, kinds = [pid for _, pid in found], [kind for kind, _ in found]
    told = [rows[pid] for pid in pids]
    owners = Owners(
        pids=pids,
        capacities=[row.capacity for row in told],
        claimed_ns=[row.claimed_ns for row in told],
        measures_wait=[row.measures_wait for row in told],
        places={it: slice(kinds.index(it), kinds.index(it) + kinds.count(it)) for it in kinds},
        without_slot=sorted(set(running) - set(pids)),
    )
    return States(owners, Columns(*([row[4 + n] for row in told] for n in range(6))))
