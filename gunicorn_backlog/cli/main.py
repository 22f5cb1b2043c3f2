"""The command ``gunicorn-backlog``: inspect a running server, or check what can be measured."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from io import TextIOWrapper

from gunicorn_backlog.cli.arguments import USAGE, parse
from gunicorn_backlog.cli.errors import InspectError
from gunicorn_backlog.cli.inspect import discovery, unhooked
from gunicorn_backlog.cli.inspect.discovery import Server
from gunicorn_backlog.cli.inspect.snapshot import take_snapshot
from gunicorn_backlog.cli.status import report, text

OK, FAILED, NO_SERVER = 0, 1, 3  # exit codes, and USAGE
NO_RICH = "top needs rich, which is not installed: pip install 'gunicorn_backlog[top]'"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command, and return its exit code."""
    _open_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # the encoding may lack letters of an app's name
    parsed = parse(sys.argv[1:] if arguments is None else arguments, __doc__)
    try:
        code = COMMANDS[parsed.command](parsed)
        sys.stdout.flush()  # raises here if the reader is gone, not at the interpreter's end
        return code
    except InspectError as error:
        print(f"gunicorn-backlog: {error}", file=sys.stderr)
        return error.code
    except OSError as error:
        # Buffered output goes to /dev/null, since its flush would fail again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):  # for example ``status | head``
            with suppress(OSError):
                print(f"gunicorn-backlog: {error}", file=sys.stderr, flush=True)
        return FAILED
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


def _open_closed_streams() -> None:
    """Open /dev/null for each standard stream that the shell closed (``>&-``)."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode))


def _status(arguments: argparse.Namespace) -> int:
    snapshot = take_snapshot(chosen(arguments.pid), arguments.seconds)
    if arguments.json:
        print(json.dumps(report.report(snapshot), indent=2))
    else:
        print(text.status(snapshot))
    return OK


def _top(arguments: argparse.Namespace) -> int:
    try:
        from gunicorn_backlog.cli.top.top import Top
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "rich":
            raise
        raise InspectError(NO_RICH) from None
    Top(chosen(arguments.pid), arguments.seconds).run()
    return OK


def _check(arguments: argparse.Namespace) -> int:
    from gunicorn_backlog.cli.check.command import check

    return check(arguments.pid, arguments.gunicorn)


def _advise(arguments: argparse.Namespace) -> int:
    from gunicorn_backlog.cli.advise import report as advice_report
    from gunicorn_backlog.cli.advise import text as advice_text
    from gunicorn_backlog.cli.advise.advice import advise
    from gunicorn_backlog.cli.advise.measure import Measurement
    from gunicorn_backlog.cli.advise.model import Goal

    goal = Goal(arguments.wait, arguments.share / 100)
    measured = Measurement(chosen(arguments.pid)).run(arguments.seconds, goal)
    advice = advise(measured, goal)
    if arguments.json:
        print(json.dumps(advice_report.report(measured, advice), indent=2))
    else:
        print(advice_text.text(measured, advice, goal))
    return OK


def _drained(arguments: argparse.Namespace) -> int:
    from gunicorn_backlog.cli.drained.wait import wait_until_drained

    server = chosen(arguments.pid)
    print(wait_until_drained(server, arguments.quiet, arguments.timeout, arguments.allow))
    return OK


COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "top": _top,
    "status": _status,
    "check": _check,
    "advise": _advise,
    "drained": _drained,
}


def chosen(pid: int | None) -> Server:
    """Return the server with that pid; None: the only server. Raises InspectError."""
    if pid is not None:
        return discovery.find_server(pid)
    found = discovery.find_servers()
    if not found.servers and found.errors:
        raise InspectError("; ".join(found.errors))
    for error in found.errors:
        print(f"gunicorn-backlog: {error}", file=sys.stderr)
    if len(found.servers) == 1:
        return found.servers[0]
    if found.servers:
        print(text.servers(found.servers), file=sys.stderr)
        number = len(found.servers)
        raise InspectError(f"there are {number} servers: give the pid of one", USAGE)
    raise InspectError(_no_server(found.hidden), NO_SERVER)


def _no_server(hidden: list[int]) -> str:
    message = "no server with gunicorn_backlog in its hooks runs here"
    if masters := unhooked.masters():
        message = (
            f"{message} (gunicorn that is not monitored does: pid {discovery.first_pids(masters)})"
        )
    if not hidden:
        return message
    remedy = discovery.access_remedy(hidden)
    return f"{message}; access to {discovery.first_pids(hidden)} is denied: {remedy}"
