"""``top`` in a real terminal, through the demo's phases, small and large."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Event

import load
import pytest
from agent import StandInAgent

from tests.conftest import ServerFactory
from tests.lab.cli_command import COMMAND, environment, run_cli
from tests.lab.cli_in_process import run_here, status_here
from tests.lab.gunicorn_versions import Gunicorn
from tests.lab.nightly import nightly
from tests.lab.server import Server
from tests.lab.ss import ss
from tests.lab.terminal import Terminal
from tests.lab.waiting import wait_for

WORKERS = 2
SERVICE_TIME_S = 0.4
SMALL, LARGE = (80, 24), (200, 50)
BLOCK = "█"


class Screen:
    """Values read from a screen of ``top``."""

    def __init__(self, text: str) -> None:
        self.lines = text.rstrip("\n").split("\n")

    def row(self, begin: str) -> str:
        """Return the only line with this beginning."""
        (row,) = [line for line in self.lines if line.strip().startswith(begin)]
        return row

    def workers(self) -> list[list[str]]:
        """Return the cells of the workers' rows; none while the screen is being drawn."""
        heads = [n for n, line in enumerate(self.lines) if re.match(r" *pid +state", line)]
        rows = [line.split() for at in heads for line in self.lines[at + 1 :]]
        return [row for row in rows if row and row[0].isdigit()]


@pytest.fixture
def demo() -> Iterator[tuple[int, int]]:
    """The demo's gunicorn: pid and port."""
    port, stop = load.free_port(), Event()
    with StandInAgent() as agent, load.gunicorn(port, WORKERS, agent.url, stop) as server:
        yield server.pid, port


def terminal(folder: Path, size: tuple[int, int], *arguments: str, **variables: str) -> Terminal:
    """Return a terminal that runs ``top``."""
    command = [*COMMAND, "top", *arguments]
    environ = environment() | variables
    return Terminal(folder, command, width=size[0], height=size[1], environ=environ)


@pytest.mark.parametrize("size", [SMALL, nightly(LARGE, id="200x50")])
def test_through_the_phases(size: tuple[int, int], demo: tuple[int, int], tmp_path: Path) -> None:
    """Idle, busy, saturated and drained all appear on the screen, which fits."""
    (pid, port), stop = demo, Event()
    with terminal(tmp_path, size, str(pid), "--seconds", "0.5") as screen:
        idle = shown(screen, size, "utilization  0 %", ["idle", "idle"])
        assert idle.lines[0].startswith(f"demo: pid {pid}, gunicorn ")
        assert re.match(rf"127\.0\.0\.1:{port} +0 +\d+ ", idle.row("127.0.0.1"))
        with load.clients(1, port, f"/sleep/{SERVICE_TIME_S}", stop):
            busy = shown(screen, size, "1 idle, 1 working", ["idle", "working"])
            assert re.search(r"127\.0\.0\.1:\d+ +0 ", busy.row("127.0.0.1"))
            assert "in flight    1" in busy.lines
        with load.clients(12, port, f"/sleep/{SERVICE_TIME_S}", stop):
            screen.wait_until_it_shows("saturated 100 % of the time", "longest ")
            saturated = shown(screen, size, "0 idle, 2 working", ["working", "working"])
            row = saturated.row("127.0.0.1")
            assert 8 <= int(row.split()[1]) <= 12
            assert BLOCK in row  # the sparkline's latest value
            assert [cells[2] for cells in saturated.workers()] == ["1/1"] * WORKERS
            assert all(BLOCK * 5 in cells[-1] for cells in saturated.workers())
        drained = shown(screen, size, "no requests", ["idle", "idle"])
        row = drained.row("127.0.0.1")
        assert row.split()[1] == "0"
        assert BLOCK in row  # the sparkline covers a minute
        screen.resize(*LARGE)
        shown(screen, LARGE, "no requests", ["idle", "idle"])
        screen.press("q")
        wait_for("top to end", lambda: screen.exit_code is not None)
        assert screen.exit_code == 0


def shown(terminal: Terminal, size: tuple[int, int], text: str, states: list[str]) -> Screen:
    """Return the first fitting screen with that text and workers in these states.

    A screen may be read while being drawn.
    """

    def now() -> Screen | None:
        found = Screen(terminal.wait_until_it_shows(text, "q quit"))
        return found if sorted(cells[1] for cells in found.workers()) == states else None

    screen = wait_for(f"{text!r} and {states}", now)
    check_fit(screen, size)
    return screen


def check_fit(screen: Screen, size: tuple[int, int]) -> None:
    """Assert that the screen has all its parts, and that the terminal cut no line."""
    width, height = size
    assert len(screen.lines) <= height
    assert all(len(line) <= width for line in screen.lines)
    assert screen.row("q quit").split() == ["q", "quit", "s", "sort:", "busiest", "p", "pause"]
    for begin in ("listener", "workers", "in flight", "utilization", "waits"):
        assert screen.row(begin)
    assert len(screen.workers()) == WORKERS


def test_its_keys(newest: Gunicorn, serve: ServerFactory, tmp_path: Path) -> None:
    """s changes the order, p pauses the frame, and a resize draws the whole frame again."""
    server = serve(newest, workers=3).wait_until_it_serves()
    with terminal(tmp_path, SMALL, str(server.pid), "--seconds", "0.2") as screen:
        screen.wait_until_it_shows("3 idle, 0 working")
        server.hold(1)
        first = Screen(screen.wait_until_it_shows("2 idle, 1 working"))
        assert [row[1] for row in first.workers()] == ["working", "idle", "idle"]
        for order in ("pid", "requests", "utilization", "busiest", "pid"):
            screen.press("s")
            text = screen.wait_until_it_shows(f"sort: {order}")
        pids = [int(row[0]) for row in Screen(text).workers()]
        assert pids == sorted(pids) == sorted(server.worker_pids())
        screen.press("p")
        screen.wait_until_it_shows("PAUSED", "p go on")
        server.let_go()
        screen.resize(100, 8)
        paused = ("PAUSED", "2 idle, 1 working", "more workers", "p go on")
        small = Screen(screen.wait_until_it_shows(*paused))
        assert len(small.lines) == 8
        screen.press("p")
        screen.wait_until_it_shows("3 idle, 0 working", "more workers", "p pause")


def test_more_workers_than_lines(newest: Gunicorn, serve: ServerFactory, tmp_path: Path) -> None:
    """The busiest workers are shown, and the number of the others."""
    server = serve(newest, workers=14).wait_until_it_serves()
    with terminal(tmp_path, (80, 16), str(server.pid), "--seconds", "0.2") as screen:
        screen.wait_until_it_shows("14 idle, 0 working", "more workers")
        server.hold(2)
        text = Screen(screen.wait_until_it_shows("12 idle, 2 working"))
        assert [row[1] for row in text.workers()][:3] == ["working", "working", "idle"]
        more = int(text.row("and ").split()[1])
        assert len(text.workers()) + more == 14
        assert len(text.lines) <= 16
        assert text.lines[-1].startswith("q quit")
        server.let_go()


def test_colours(newest: Gunicorn, serve: ServerFactory, tmp_path: Path) -> None:
    """The frame has colours, or none with NO_COLOR; the words are equal."""
    server = serve(newest).wait_until_it_serves()
    coloured = re.compile(r"\x1b\[[0-9;]*3[0-7]m")
    for variables, expected in (({}, True), ({"NO_COLOR": "1"}, False)):
        folder = tmp_path / str(expected)
        folder.mkdir()
        with terminal(folder, SMALL, str(server.pid), **variables) as screen:
            screen.wait_until_it_shows("2 idle, 0 working", "q quit")
            assert bool(coloured.search(screen.screen(colours=True))) == expected


def test_while_it_is_paused(newest: Gunicorn, serve: ServerFactory, tmp_path: Path) -> None:
    """The paused frame does not change; later events appear after the pause."""
    server = serve(newest).wait_until_it_serves()
    with terminal(tmp_path, SMALL, str(server.pid), "--seconds", "0.2") as screen:
        screen.wait_until_it_shows("2 idle, 0 working", "p pause")
        screen.press("p")
        still = screen.wait_until_it_shows("PAUSED", "p go on")
        server.hold(2)
        wait_for("both workers", lambda: server.journal.in_flight().total() == 2)
        server.hold(3)
        wait_for("three waiting connections", lambda: ss(server.address).recv_q == 3)
        seen = status_here(server.pid, seconds=1)  # the duration of a few frames
        assert seen["listeners"][0]["gunicorn.backlog"] == 3
        screen.press("s")
        sorted_by_pid = screen.wait_until_it_shows("PAUSED", "sort: pid")
        server.let_go()
        wait_for("no waiting connection", lambda: ss(server.address).recv_q == 0)
        assert sorted_by_pid == still.replace("sort: busiest", "sort: pid")
        screen.press("p")
        row = Screen(screen.wait_until_it_shows("2 idle, 0 working", "p pause")).row(server.address)
        _, waiting, *_, highest, dropped = row.split()
        assert (waiting, highest, dropped) == ("0", "3", "0")


def test_without_a_terminal(newest: Gunicorn, serve: ServerFactory) -> None:
    """Without a terminal: one frame without escape sequences."""
    server: Server = serve(newest).wait_until_it_serves()
    done = run_here("top", str(server.pid), "--seconds", "0.3", environ={"COLUMNS": "100"})
    assert done.code == 0
    assert "\x1b" not in done.out
    assert "2 idle, 0 working, 0 starting" in done.out
    assert "q quit" not in done.out
    assert len(Screen(done.out).workers()) == 2
    ascii_only = run_cli(
        "top", str(server.pid), "--seconds", "0.3", environ={"PYTHONIOENCODING": "ascii"}
    )
    assert ascii_only.code == 0
    assert ascii_only.out.isascii()


def test_without_rich(newest: Gunicorn, serve: ServerFactory) -> None:
    """One line has the command that installs rich; status needs no package."""
    server = serve(newest).wait_until_it_serves()
    script = "import sys; sys.modules['rich'] = None; from gunicorn_backlog.cli.main import main"
    done = subprocess.run(
        [sys.executable, "-c", f"{script}; sys.exit(main())", "top", str(server.pid)],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    line = "top needs rich, which is not installed: pip install 'gunicorn_backlog[top]'"
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"gunicorn-backlog: {line}\n"
    status = [sys.executable, "-c", f"{script}; sys.exit(main())", "status", str(server.pid)]
    assert subprocess.run(status, env=environment(), check=False).returncode == 0


def test_the_arbiter_imports_none_of_it(newest: Gunicorn, serve: ServerFactory) -> None:
    """No process of the server imports ``cli`` or rich."""
    config = (
        "from gunicorn_backlog.hooks import *\n"
        "import os, sys\n"
        "def worker_exit(server, worker):\n"
        "    print('imported:', *sys.modules, flush=True)\n"
    )
    server = serve(newest, config=config).wait_until_it_serves()
    os.kill(min(server.worker_pids()), signal.SIGTERM)
    line = wait_for("its modules", lambda: re.search(r"imported:.*\n", server.log))[0]
    names = line.split()
    assert "gunicorn_backlog.arbiter.monitor" in names
    for apart in ("rich", "gunicorn_backlog.cli", "gunicorn_backlog.cli.check"):
        assert not any(name == apart or name.startswith(f"{apart}.") for name in names)
