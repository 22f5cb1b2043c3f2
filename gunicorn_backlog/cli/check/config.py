"""What gunicorn would be told to do: its config, its hooks, the versions that are installed."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

import gunicorn_backlog
from gunicorn_backlog import __version__
from gunicorn_backlog.cli.check import hook_findings
from gunicorn_backlog.cli.check.findings import Finding, failed, ok, warning
from gunicorn_backlog.cli.check.gunicorn_config import GunicornConfig, Hook, Reach
from gunicorn_backlog.config.tags import printable
from gunicorn_backlog.metrics import own_metric
from gunicorn_backlog.scoreboard.slot import HAS_CAPACITY, Kind

OLDEST = {"gunicorn": (20, 1), "datadog": (0, 52)}
ASGI_BACKLOG = 100  # asyncio's create_server(), which gunicorn's asgi worker calls
READ_S = 60.0
# As for gunicorn's own command, the current folder is not on the path until gunicorn puts it there.
_READ = """
import sys
sys.path[:] = [it for it in sys.path if it]
sys.path.append(sys.argv.pop(1))
from gunicorn_backlog.cli.check.read_config import main
main()
"""
_FOLDER = str(Path(gunicorn_backlog.__file__).parents[1])


def versions() -> Iterator[Finding]:
    """Yield whether what is installed is recent enough."""
    found = []
    for package, oldest in OLDEST.items():
        least = ".".join(map(str, oldest))
        try:
            installed = metadata.version(package)
        except metadata.PackageNotFoundError:
            wrong = f"{package} is not installed"
        else:
            found.append(f"{package} {installed}")
            if _numbers(installed) >= oldest:
                continue
            wrong = f"{package} {installed} is too old: {least} is needed"
        yield failed("versions", wrong, f"pip install '{package}>={least}'")
    yield ok("versions", ", ".join([*found, f"gunicorn_backlog {__version__}"]))


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", version)[:3]))


def read(arguments: Sequence[str], *, deadline_s: float = READ_S) -> GunicornConfig | str:
    """Return the config that gunicorn would have with these arguments, or why it has none.

    What is told goes through files: a config may start programs that hold a pipe open for ever.
    """
    with _file() as told, _file() as said:
        command = [sys.executable, "-c", _READ, _FOLDER, str(told.fileno()), *arguments]
        program = subprocess.Popen(
            command,
            pass_fds=(told.fileno(),),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=said,
            start_new_session=True,
        )
        try:
            program.wait(deadline_s)
        except subprocess.TimeoutExpired:
            return f"it was not read within {deadline_s:g} s"
        finally:
            if program.returncode is None:
                _end(program)
        text = _all_of(told)
        if text:
            return _decoded(text)
        lines = _all_of(said).strip().splitlines()
    if program.returncode == 0:
        return "gunicorn ends with exit code 0 before it is read"
    return printable(lines[-1]) if lines else f"exit code {program.returncode}"


def _end(program: subprocess.Popen[bytes]) -> None:
    """End it, and the programs that it has started."""
    os.killpg(program.pid, signal.SIGKILL)
    program.wait()


def _decoded(text: str) -> GunicornConfig | str:
    try:
        config = GunicornConfig(**json.loads(text))
        return config._replace(
            hooks={name: _hook(*fields) for name, fields in config.hooks.items()}
        )
    except (ValueError, TypeError, AttributeError):  # the config has written to all its descriptors
        return "what was read of it is garbled"


def _hook(reach: str, own_line: int, our_line: int) -> Hook:
    return Hook(Reach(reach), own_line, our_line)


def _file() -> IO[bytes]:
    """Return a file without a name: in memory where there is such, for a disk may be read-only."""
    try:
        return os.fdopen(os.memfd_create("gunicorn_backlog config"), "w+b")
    except (AttributeError, OSError):
        return TemporaryFile()


def _all_of(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")


def findings(config: GunicornConfig) -> Iterator[Finding]:
    """Yield what is found in a config."""
    if not config.enabled:
        yield failed("settings", "enabled is False: the hooks do nothing", "set enabled=True")
    for text in config.unusable:
        yield warning("settings", f"{text}; passed over", "correct it, or unset it")
    yield from hook_findings.findings(config)
    if config.own_metric:
        yield warning("metrics", own_metric.clash(config.backlog_type), own_metric.REMEDY)
    yield class_finding(config.worker_class, config.kind, config.load_error)
    if config.worker_class == "asgi" and config.backlog > ASGI_BACKLOG:
        text = (
            f"gunicorn's asgi worker makes asyncio listen with {ASGI_BACKLOG}, not {config.backlog}"
        )
        yield warning("backlog", text, f"count on {ASGI_BACKLOG}")


def class_finding(name: str, kind: int | None, wrong: str = "") -> Finding:
    """Return what can be told of a worker class."""
    if kind is None:
        return failed("worker class", f"{name} can't be loaded: {wrong}", "install what it needs")
    if kind == Kind.UNKNOWN:
        text = f"{name} is not known: its workers are counted, and their states are not reported"
        return warning(
            "worker class", text, "make it of one of gunicorn's classes, or of uvicorn's"
        )
    if kind in HAS_CAPACITY:
        told = "states, requests, utilization and waits"
        if sys.platform != "linux":
            told = "states, requests and utilization"
        return ok("worker class", f"{name}: {told} are reported")
    shares = "there are no shares of a capacity, for it has none"
    return ok("worker class", f"{name}: states and requests are reported; {shares}")
