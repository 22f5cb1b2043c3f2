"""``check`` in a pid namespace of its own, and its findings."""

from __future__ import annotations

import re
from collections.abc import Callable

from tests.lab.cli_command import Done, run_cli
from tests.lab.sandbox import as_pid_1

OK, WARNING, FAILED = 0, 1, 2
LEVELS = {"ok": OK, "warning": WARNING, "failed": FAILED}

# Writes a config file and returns gunicorn's arguments for it.
WriteConfig = Callable[[str], tuple[str, ...]]


def check(
    *arguments: str,
    place: tuple[str, ...] = (),
    run_by: tuple[str, ...] = (),
    environ: dict[str, str] | None = None,
) -> Done:
    """Run ``check`` where no other server is visible, with gunicorn's arguments."""
    command = ("check", *(("--", *arguments, "app:app") if arguments else ()))
    return run_cli(*command, run_by=(*place, *as_pid_1(), *run_by), environ=environ)


def has_finding(done: Done, level: str, what: str, text: str) -> bool:
    """Return whether the output has that finding."""
    return any(
        re.match(rf"{level} +{what} +", line) and text in line for line in done.out.splitlines()
    )
