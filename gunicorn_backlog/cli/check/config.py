"""Findings on gunicorn's config (settings, hooks, worker class), and on installed versions."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, NamedTuple

import gunicorn_backlog
from gunicorn_backlog import __version__
from gunicorn_backlog.cli.check.findings import Finding, Level, failed, ok, warning
from gunicorn_backlog.config.tags import printable
from gunicorn_backlog.scoreboard.kind import HAS_CAPACITY, Kind

OLDEST = {"gunicorn": (20, 1), "datadog": (0, 52)}
READ_S = 60.0
# Remove the current folder from the path: gunicorn's own command adds the folder later.
_READ = """
import sys
sys.path[:] = [folder for folder in sys.path if folder]
sys.path.append(sys.argv.pop(1))
from gunicorn_backlog.cli.check.read_config import main
main()
"""
_FOLDER = str(Path(gunicorn_backlog.__file__).parents[1])


class GunicornConfig(NamedTuple):
    """The parts of gunicorn's config that ``check`` reports on.

    ``agent``: the Agent's address. ``disabled``: by Datadog's ``DD_DOGSTATSD_DISABLE``.
    ``findings``: on settings, hooks and worker class.
    """

    backlog: int
    agent: str
    disabled: bool
    findings: list[Finding]


def versions() -> Iterator[Finding]:
    """Yield a finding on the version of each required package."""
    recent = []
    for package, oldest in OLDEST.items():
        least = ".".join(map(str, oldest))
        try:
            installed = metadata.version(package)
        except metadata.PackageNotFoundError:
            text = f"{package} is not installed"
        else:
            recent.append(f"{package} {installed}")
            if tuple(map(int, re.findall(r"\d+", installed)[:3])) >= oldest:
                continue
            text = f"{package} {installed} is too old: {least} is needed"
        yield failed("versions", text, f"pip install '{package}>={least}'")
    yield ok("versions", ", ".join([*recent, f"gunicorn_backlog {__version__}"]))


def read(arguments: Sequence[str], *, deadline_s: float = READ_S) -> GunicornConfig | str:
    """Return gunicorn's config for these arguments, or the reason why gunicorn can't read it.

    The results are files, not pipes: a config may start programs that hold a pipe open for ever.

    :param arguments: of gunicorn's own command.
    :param deadline_s: the reading process is killed then.
    """
    with _unnamed_file() as result, _unnamed_file() as errors:
        command = [sys.executable, "-c", _READ, _FOLDER, str(result.fileno()), *arguments]
        program = subprocess.Popen(
            command,
            pass_fds=(result.fileno(),),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            start_new_session=True,
        )
        try:
            program.wait(deadline_s)
        except subprocess.TimeoutExpired:
            return f"not read within {deadline_s:g} s"
        finally:
            if program.returncode is None:
                _kill(program)
        text = _content(result)
        if text:
            return _decoded(text)
        lines = _content(errors).strip().splitlines()
    if program.returncode == 0:
        return "gunicorn ends with exit code 0 before it is read"
    return printable(lines[-1]) if lines else f"exit code {program.returncode}"


def _kill(program: subprocess.Popen[bytes]) -> None:
    """Kill the program and its children."""
    os.killpg(program.pid, signal.SIGKILL)
    program.wait()


def _decoded(text: str) -> GunicornConfig | str:
    try:
        config = GunicornConfig(**json.loads(text))
        found = [Finding(Level(level), *texts) for level, *texts in config.findings]
        return config._replace(findings=found)
    except (ValueError, TypeError, AttributeError):  # the config wrote to the result's descriptor
        return "the result is malformed"


def _unnamed_file() -> IO[bytes]:
    """Return a file in memory, since disks may be read-only; where memfd is refused, on a disk."""
    try:
        return os.fdopen(os.memfd_create("gunicorn_backlog config"), "w+b")
    except (AttributeError, OSError):
        return TemporaryFile()


def _content(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")


def unusable_findings(texts: Iterable[str]) -> Iterator[Finding]:
    """Yield a finding for each variable that has an unusable value."""
    for text in texts:
        yield warning("settings", f"{text}; ignored", "correct or unset the variable")


def class_finding(name: str, kind: int | None, load_error: str = "") -> Finding:
    """Return a finding on the measured values of a worker class.

    :param name: gunicorn's setting ``worker_class``.
    :param kind: a ``kind.Kind``; None: the class can't be loaded.
    """
    if kind is None:
        text = f"{name} can't be loaded: {load_error}"
        return failed("worker class", text, "install the packages of this class")
    if kind == Kind.UNKNOWN:
        text = f"{name} is not known: its workers are counted, and their states are not reported"
        remedy = "derive it from one of gunicorn's classes, or of uvicorn's"
        return warning("worker class", text, remedy)
    if kind in HAS_CAPACITY:
        on_linux = "states, requests, utilization and waits"
        reported = on_linux if sys.platform == "linux" else "states, requests and utilization"
        return ok("worker class", f"{name}: {reported} are reported")
    reported = "states, requests, the event loop and the pools of threads behind it"
    return ok("worker class", f"{name}: {reported} are reported")


def reuse_port_findings(
    reuse_port: bool, max_requests: int, gunicorn: tuple[int, ...], *, migrates: bool
) -> Iterator[Finding]:
    """Yield a finding if workers that are recycled lose the connections of their own queues.

    :param gunicorn: the version. Before 25 the workers share the arbiter's sockets.
    :param migrates: the kernel moves the queue of a closed socket to another one.
    """
    if reuse_port and max_requests and gunicorn >= (25,) and not migrates:
        text = (
            "with reuse_port a worker that reaches max_requests closes its own accept queue: "
            "the kernel resets the connections in it (gunicorn.backlog.lost)"
        )
        remedy = "unset reuse_port or max_requests, or set the sysctl net.ipv4.tcp_migrate_req=1"
        yield warning("reuse_port", text, remedy)
