"""Put the monitors, the dashboard and the metrics' metadata of this folder into a Datadog account.

    export DD_API_KEY=... DD_APP_KEY=... DD_SITE=datadoghq.eu
    python examples/datadog/apply.py --dry-run           # print the changes, and make none
    python examples/datadog/apply.py --notify @slack-ops

Existing objects are changed where they differ; a second run changes nothing. If one change is
refused, the changes before it are undone.
"""

from __future__ import annotations

import argparse
import io
import os
import sys

from account import ApplyError, connect
from changes import Change, Plan, carry_out, plan
from stopping import Stop
from wanted import wanted


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--dry-run", action="store_true", help="print the changes, and make none")
    parser.add_argument("--notify", action="append", default=[], metavar="@HANDLE")
    return parser.parse_args()


def _show(change: Change, dry_run: bool) -> None:
    verb = "change" if change.found else "create"
    print(f"{'would ' if dry_run else ''}{verb} {change.wanted.title}")
    for line in change.differences:
        print(f"    {line}")


def _sum_up(made: Plan, objects: int, dry_run: bool) -> None:
    created = sum(change.found is None for change in made.changes)
    unchanged = objects - len(made.changes) - len(made.never_sent)
    print(f"{created} to create" if dry_run else f"{created} created", end=", ")
    print(f"{len(made.changes) - created} {'to change' if dry_run else 'changed'}", end=", ")
    print(f"{unchanged} unchanged")
    if made.never_sent:
        names = ", ".join(made.never_sent)
        print(
            f"not sent to Datadog yet: {len(made.never_sent)} metrics ({names}),"
            " which can't be described before; run this again when they are"
        )


def _report(made: Plan, objects: int, dry_run: bool) -> None:
    """Print the changes. A closed pipe (``| head``) is no error: the changes are made."""
    try:
        for change in made.changes:
            _show(change, dry_run)
        _sum_up(made, objects, dry_run)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at exit


def main() -> None:
    """Run with the arguments of the command line."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # the terminal may lack letters of a title
        sys.stdout.reconfigure(errors="backslashreplace")
    arguments, stop = _arguments(), Stop()
    stop.listen()
    try:
        with stop.allowed():
            all_wanted = wanted(notify=arguments.notify)
            connect()
            made = plan(all_wanted)
        if not arguments.dry_run:
            carry_out(made.changes, stop)
    except (ApplyError, OSError, ValueError) as error:
        sys.exit(f"apply: {error}")
    except KeyboardInterrupt:
        sys.exit("apply: stopped")
    _report(made, len(all_wanted), arguments.dry_run)


if __name__ == "__main__":
    main()
