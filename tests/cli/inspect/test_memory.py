"""A server's memory is read, and never written; each defect of the memory is one line."""

from __future__ import annotations

import hashlib
import os
import signal
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from agent import StandInAgent

from gunicorn_backlog.cli.errors import InspectError
from gunicorn_backlog.cli.inspect import discovery
from gunicorn_backlog.cli.inspect.memory import Memory
from gunicorn_backlog.scoreboard import server_info
from gunicorn_backlog.scoreboard.layout import COUNTERS, INFO_SIZE, MAGIC, SLOTS, VERSION, Layout
from gunicorn_backlog.scoreboard.scoreboard import Scoreboard
from gunicorn_backlog.scoreboard.server_info import ListenerRef, ServerInfo, ServerInfoError
from tests.conftest import ServerFactory
from tests.lab.cli_in_process import run_here
from tests.lab.gunicorn_versions import Gunicorn
from tests.lab.procfs import is_stopped
from tests.lab.pushes import wait_until_all_are_idle
from tests.lab.waiting import wait_for

LAYOUT = Layout(slots=4, thread_rows=8)
ABOUT = ServerInfo(
    app="lab",
    version="1",
    gunicorn="27",
    worker_class="sync",
    kind=1,
    enabled=True,
    interval_s=1.0,
    backlog=5,
    boot_limit_s=35,
    watched_since_ns=7,
    agent="udp://localhost:8125",
    agent_from="default",
    agent_error="",
    listeners=(ListenerRef("127.0.0.1:80", 2, 12345, "", 80), ListenerRef("x", 0, host="why not")),
    warnings=("one", "two"),
)


@contextmanager
def planted(octets: bytes, size: int) -> Iterator[str]:
    """Create a memory that begins with these bytes, and yield its path."""
    fd = os.memfd_create("gunicorn_backlog")
    try:
        os.ftruncate(fd, size)
        os.pwrite(fd, octets, 0)
        yield f"/proc/self/fd/{fd}"
    finally:
        os.close(fd)


TOO_LARGE = LAYOUT._replace(slots=SLOTS + 1).size


def header(version: int = VERSION, slots: int = LAYOUT.slots, counters: int = COUNTERS) -> bytes:
    """Return a header."""
    numbers = (version, os.getpid(), slots, LAYOUT.thread_rows, 0, counters)
    return struct.pack("=8sIIIIII32x", MAGIC, *numbers)


@pytest.mark.parametrize(
    ("octets", "size", "line"),
    [
        (b"", 0, "0 bytes are no header"),
        (b"x" * 40, 40, "40 bytes are no header"),
        (b"x" * 64, LAYOUT.size, "it does not begin with our magic"),
        (header(version=1), LAYOUT.size, "it has layout version 1, this reader reads 3"),
        (header(), LAYOUT.size - 1, f"its header does not fit its {LAYOUT.size - 1} bytes"),
        (header(slots=2**32 - 1), LAYOUT.size, f"does not fit its {LAYOUT.size} bytes"),
        (header(counters=8), LAYOUT.size, f"does not fit its {LAYOUT.size} bytes"),
        (header(slots=SLOTS + 1), TOO_LARGE, f"does not fit its {TOO_LARGE} bytes"),
        (header(), LAYOUT.size, "it is not sealed"),
    ],
    ids=["empty", "short", "magic", "version", "size", "slots", "counters", "large", "unsealed"],
)
def test_what_is_wrong_with_a_header(octets: bytes, size: int, line: str) -> None:
    """Each defect of a header raises InspectError, and nothing is mapped."""
    with planted(octets, size) as path, pytest.raises(InspectError, match=line):
        Memory(path)


def test_it_is_mapped_to_be_read_only() -> None:
    """/proc/self/maps lists a read-only mapping, and a write raises TypeError."""
    scoreboard = Scoreboard(slots=4, thread_rows=8)
    scoreboard.publish(ABOUT)
    memory = Memory(f"/proc/self/fd/{scoreboard._fd}")
    inode = os.fstat(scoreboard._fd).st_ino
    mapped = [
        line.split()[1]
        for line in Path("/proc/self/maps").read_text().splitlines()
        if line.split()[4] == str(inode)
    ]
    assert sorted(mapped) == ["r--s", "rw-s"]  # the inspector's mapping, and the scoreboard's own
    with pytest.raises(TypeError, match="modify a readonly memory map"):
        memory._memory[0:1] = b"x"
    assert memory.server_info() == ABOUT
    memory.close()


BRIEFLY = ("--seconds", "0.2")


def test_nothing_is_written(newest: Gunicorn, serve: ServerFactory, agent: StandInAgent) -> None:
    """The memory of a stopped server has the same content before and after each command."""
    server = serve(newest, environ={"GUNICORN_BACKLOG_URL": agent.url})
    wait_until_all_are_idle(agent)
    processes = [server.pid, *server.worker_pids()]
    for pid in processes:
        os.kill(pid, signal.SIGSTOP)
    wait_for("all processes to stop", lambda: all(map(is_stopped, processes)))
    path = discovery._path(server.pid)
    assert path is not None
    before = hashlib.sha256(Path(path).read_bytes()).digest()
    for command, *arguments in (("status", *BRIEFLY), ("top", *BRIEFLY), ("check",)):
        assert "lab" in run_here(command, str(server.pid), *arguments).out
        assert hashlib.sha256(Path(path).read_bytes()).digest() == before
    for pid in processes:
        os.kill(pid, signal.SIGCONT)


def test_what_is_said_comes_back() -> None:
    """decode() returns all encoded fields."""
    assert server_info.decode(ABOUT.encode(INFO_SIZE)) == ABOUT


def test_too_many_warnings_are_left_out() -> None:
    """Warnings without room are left out, and all other fields remain."""
    said = ABOUT._replace(warnings=("x" * INFO_SIZE,))
    found = server_info.decode(said.encode(INFO_SIZE))
    assert found._replace(warnings=()) == said._replace(warnings=())
    assert found.warnings == (server_info.TOO_MANY,)


def test_too_many_listeners_are_left_out() -> None:
    """As many listeners as fit are kept, and a warning has their number."""
    places = tuple(ListenerRef(f"127.0.0.1:{port}", 2, port) for port in range(2000))
    found = server_info.decode(ABOUT._replace(listeners=places).encode(INFO_SIZE))
    kept = len(found.listeners)
    assert 0 < kept < 2000
    assert found.listeners == places[:kept]
    assert found.warnings[0] == f"{kept} of 2000 listeners fit here: all are measured"


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"{}",
        b"[" * 10_000,
        b"\xff",
        ABOUT.encode(INFO_SIZE)[:-1],
        ABOUT._replace(kind="x").encode(INFO_SIZE),  # type: ignore[arg-type]
        ABOUT._replace(interval_s=float("inf")).encode(INFO_SIZE),
        ABOUT._replace(enabled=1).encode(INFO_SIZE),  # type: ignore[arg-type]
        ABOUT._replace(listeners=(("x", 2, -1, "", 0),)).encode(INFO_SIZE),  # type: ignore[arg-type]
        ABOUT._replace(listeners=(("x",),)).encode(INFO_SIZE),  # type: ignore[arg-type]
        ABOUT._replace(kind=77).encode(INFO_SIZE),
        ABOUT._replace(listeners=(("x", 2, 0, ["h"], 80),)).encode(INFO_SIZE),  # type: ignore[arg-type]
        ABOUT._replace(listeners=(("x", 2, 0, "h", 1 << 16),)).encode(INFO_SIZE),  # type: ignore[arg-type]
    ],
    ids=range(13),
)
def test_what_is_no_such_text(octets: bytes) -> None:
    """Any other text, as of overwritten memory, raises ServerInfoError."""
    with pytest.raises(ServerInfoError):
        server_info.decode(octets)


def test_a_terminal_is_told_nothing_by_it() -> None:
    """Escape sequences and newlines are replaced by blanks."""
    hostile = "\x1b[2Jx\n"
    said = ABOUT._replace(app=hostile, agent=hostile, warnings=(hostile,))
    found = server_info.decode(said.encode(INFO_SIZE))
    assert found.app == found.agent == found.warnings[0] == " [2Jx "


def test_text_that_was_not_written_as_a_whole() -> None:
    """A partly written text does not match its checksum."""
    scoreboard = Scoreboard(slots=4, thread_rows=8)
    scoreboard.publish(ABOUT)
    memory = Memory(f"/proc/self/fd/{scoreboard._fd}")
    at = scoreboard._layout.info_at
    scoreboard._memory[at + 5 : at + 6] = b"?"
    with pytest.raises(InspectError, match="does not match its checksum"):
        memory.server_info()
    memory.close()
