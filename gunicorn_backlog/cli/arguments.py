"""The arguments of the command ``gunicorn-backlog``."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import NoReturn

from gunicorn_backlog import __version__

SEPARATOR = "--"
USAGE = 2  # exit code
_NUMBER = r"[0-9]{1,6}(?:\.[0-9]{1,6})?"


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(USAGE, f"{self.prog}: {message}\n")


def parse(arguments: Sequence[str], description: str | None) -> argparse.Namespace:
    """Parse the arguments; those after ``--`` are gunicorn's, for ``check`` only.

    The result has ``command``, the name of the command, and ``gunicorn``. A wrong argument ends the
    program with one line and the exit code USAGE.
    """
    ours, others = list(arguments), []
    if SEPARATOR in ours:
        at = ours.index(SEPARATOR)
        ours, others = ours[:at], ours[at + 1 :]
    parser = _parser(description)
    parsed = parser.parse_args(ours)
    if others and parsed.command != "check":
        parser.error(f"{SEPARATOR} is valid for check only")
    if parsed.command == "drained" and parsed.quiet > parsed.timeout:
        parser.error(f"--quiet {parsed.quiet:g} is longer than --timeout {parsed.timeout:g}")
    parsed.gunicorn = others
    return parsed


def _parser(description: str | None) -> argparse.ArgumentParser:
    parser = _Parser(prog="gunicorn-backlog", description=description)
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="command")
    top = commands.add_parser(
        "top",
        help="a live view of a server (needs the extra top)",
        epilog="Keys: q quit, s sort the workers, p pause or resume; after a pause, the last "
        "minute includes what happened during the pause.",
    )
    _add_pid(top)
    _add_seconds(top, "--seconds", 1.0, "between two refreshes")
    status = commands.add_parser("status", help="the same values, once")
    _add_pid(status)
    _add_seconds(status, "--seconds", 0.5, "of sampling")
    _add_json(status)
    check = commands.add_parser(
        "check",
        help="test what can be measured here, and print remedies",
        usage="%(prog)s [-h] [PID] [-- GUNICORN'S ARGUMENTS]",
        epilog="After --: gunicorn's own arguments. The config file is run, the app is not.",
    )
    _add_pid(check, "of the server; all servers by default")
    _add_advise(commands.add_parser("advise", help="how many workers, threads or CPUs are enough"))
    _add_drained(commands.add_parser("drained", help="wait until no request is left"))
    return parser


def _add_advise(advise: argparse.ArgumentParser) -> None:
    _add_pid(advise)
    _add_seconds(advise, "--seconds", 60.0, "of measuring", most=3600)
    advise.add_argument(
        "--wait",
        type=_milliseconds,
        default=100.0,
        metavar="T",
        help="a wait that is too long, 1ms to 60s, for example 250ms; 100ms by default",
    )
    advise.add_argument(
        "--share",
        type=_percent,
        default=5.0,
        metavar="P%",
        help="share of the requests that may wait longer, 0.1%% to 50%%; 5%% by default",
    )
    _add_json(advise)


def _add_drained(drained: argparse.ArgumentParser) -> None:
    drained.description = (
        "Exit with 0 when no connection is queued, no request is in flight, and none has arrived "
        "for the quiet period; or when the server has ended. Exit with 1 at the timeout."
    )
    _add_pid(drained)
    _add_seconds(drained, "--quiet", 2.0, "without a request", most=3600)
    _add_seconds(drained, "--timeout", 25.0, "at most", most=3600)
    drained.add_argument(
        "--allow",
        type=_count,
        default=0,
        metavar="N",
        help="requests per quiet period that don't count, as health checks; 0 by default",
    )


def _add_pid(
    parser: argparse.ArgumentParser, what: str = "of the server; required if several run"
) -> None:
    parser.add_argument("pid", nargs="?", type=int, metavar="PID", help=what)


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="as JSON, in a documented format")


def _add_seconds(
    parser: argparse.ArgumentParser, name: str, default: float, what: str, most: float = 60
) -> None:
    parser.add_argument(
        name,
        type=partial(_seconds, most=most),
        default=default,
        metavar="N",
        help=f"seconds {what}, 0.1 to {most:g}; {default:g} by default",
    )


def _seconds(text: str, most: float) -> float:
    with suppress(ValueError):
        value = float(text)
        if 0.1 <= value <= most:
            return value
    raise argparse.ArgumentTypeError(f"{text} is not from 0.1 to {most:g}")


def _count(text: str) -> int:
    if re.fullmatch("[0-9]{1,6}", text, re.ASCII):
        return int(text)
    raise argparse.ArgumentTypeError(f"{text} is no whole number from 0 to 999999")


def _milliseconds(text: str) -> float:
    """Return the ms of ``250ms`` or ``0.25s``; a unit is required."""
    if found := re.fullmatch(f"({_NUMBER})(ms|s)", text, re.ASCII):
        value = float(found[1]) * (1000 if found[2] == "s" else 1)
        if 1 <= value <= 60_000:
            return value
    raise argparse.ArgumentTypeError(f"{text} is no time from 1ms to 60s, for example 100ms")


def _percent(text: str) -> float:
    """Return the percent of ``5%`` or ``5``."""
    if found := re.fullmatch(f"({_NUMBER})%?", text, re.ASCII):
        value = float(found[1])
        if 0.1 <= value <= 50:
            return value
    raise argparse.ArgumentTypeError(f"{text} is no share from 0.1% to 50%, for example 5%")
