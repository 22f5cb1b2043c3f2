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

from gunicorn_backlog import __version__
from gunicorn_backlog.cli.errors import InspectError
from gunicorn_backlog.cli.inspect import discovery, unhooked
from gunicorn_backlog.cli.inspect.discovery import Server
from gunicorn_backlog.cli.inspect.snapshot import take_snapshot
from gunicorn_backlog.cli.status import report, text

SEPARATOR = "--"
OK, FAILED, USAGE, NO_SERVER = 0, 1, 2, 3
NO_RICH = "top needs rich, which is not installed: pip install 'gunicorn_backlog[top]'"


class NoServerError(InspectError):
    """No server runs here."""


class ManyServersError(InspectError):
    """Several servers run, and none was chosen."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command, and return its exit code."""
    _open_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # the encoding may lack letters of an app's name
    parsed = _parsed(sys.argv[1:] if arguments is None else arguments)
    run: Callable[[argparse.Namespace], int] = parsed.run
    try:
        code = run(parsed)
        sys.stdout.flush()  # raises here if the reader is gone, not at the interpreter's end
        return code
    except ManyServersError as error:
        print(error, file=sys.stderr)
        return USAGE
    except InspectError as error:
        print(f"gunicorn-backlog: {error}", file=sys.stderr)
        return NO_SERVER if isinstance(error, NoServerError) else FAILED
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


def _parsed(arguments: Sequence[str]) -> argparse.Namespace:
    """Parse the arguments; those after ``--`` are gunicorn's, for ``check`` only."""
    ours, others = list(arguments), []
    if SEPARATOR in ours:
        at = ours.index(SEPARATOR)
        ours, others = ours[:at], ours[at + 1 :]
    parser = _parser()
    parsed = parser.parse_args(ours)
    if others and parsed.run is not _check:
        parser.error(f"{SEPARATOR} is valid for check only")
    parsed.gunicorn = others
    return parsed


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="gunicorn-backlog", description=__doc__)
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    top = commands.add_parser(
        "top",
        help="a live view of a server (needs the extra top)",
        epilog="Keys: q quit, s sort the workers, p pause or resume; after a pause, the last "
        "minute includes what happened during the pause.",
    )
    _add_pid(top)
    _add_seconds(top, 1.0, "between two refreshes")
    top.set_defaults(run=_top)
    status = commands.add_parser("status", help="the same values, once")
    _add_pid(status)
    _add_seconds(status, 0.5, "of sampling")
    status.add_argument("--json", action="store_true", help="as JSON, in a documented format")
    status.set_defaults(run=_status)
    check = commands.add_parser(
        "check",
        help="test what can be measured here, and print remedies",
        usage="%(prog)s [-h] [PID] [-- GUNICORN'S ARGUMENTS]",
        epilog="After --: gunicorn's own arguments. The config file is run, the app is not.",
    )
    _add_pid(check, "of the server; all servers by default")
    check.set_defaults(run=_check)
    return parser


def _add_pid(
    parser: argparse.ArgumentParser, what: str = "of the server; required if several run"
) -> None:
    parser.add_argument("pid", nargs="?", type=int, metavar="PID", help=what)


def _add_seconds(parser: argparse.ArgumentParser, default: float, what: str) -> None:
    parser.add_argument(
        "--seconds",
        type=_seconds,
        default=default,
        metavar="N",
        help=f"seconds {what}, 0.1 to 60; {default:g} by default",
    )


def _seconds(text: str) -> float:
    with suppress(ValueError):
        value = float(text)
        if 0.1 <= value <= 60:
            return value
    raise argparse.ArgumentTypeError(f"{text} is not from 0.1 to 60")


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
        raise ManyServersError(
            f"{text.servers(found.servers)}\n"
            f"gunicorn-backlog: there are {len(found.servers)} servers: give the pid of one"
        )
    raise NoServerError(_no_server(found.hidden))


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
