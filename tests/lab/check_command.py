"""``check`` at a place of its own, and what is read off its lines."""

from __future__ import annotations

import re
from collections.abc import Callable

from tests.lab.cli_command import Done, run_cli
from tests.lab.sandbox import as_pid_1

OK, WARNING, FAILED = 0, 1, 2
LEVELS = {"ok": OK, "warning": WARNING, "failed": FAILED}

# Makes gunicorn's arguments of a config file's text.
WriteConfig = Callable[[str], tuple[str, ...]]


def check(
    *arguments: str,
    place: tuple[str, ...] = (),
    run_by: tuple[str, ...] = (),
    environ: dict[str, str] | None = None,
) -> Done:
    """Run it at a place, where no other server is, with what gunicorn is to be told."""
    command = ("check", *(("--", *arguments, "app:app") if arguments else ()))
    return run_cli(*command, run_by=(*place, *as_pid_1(), *run_by), environ=environ)


def has_finding(done: Done, level: str, what: str, text: str) -> bool:
    """Tell whether there is such a line."""
    return any(
        re.match(rf"{level} +{what} +", line) and text in line for line in done.out.splitlines()
    )
