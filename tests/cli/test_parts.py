"""Parts of the displays, and the fields that are read from ``/proc``."""

from __future__ import annotations

import os
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gunicorn_backlog.cli.errors import EndedError, InspectError
from gunicorn_backlog.cli.inspect import procfs
from gunicorn_backlog.cli.inspect.clock import Clock
from gunicorn_backlog.cli.inspect.discovery import Server
from gunicorn_backlog.cli.status.table import duration
from gunicorn_backlog.cli.top.glyphs import ASCII, BLOCKS, Glyphs, bar, sparkline
from gunicorn_backlog.kernel.accept_queue import QueueError
from gunicorn_backlog.kernel.proc_net import decode_tcp, listening
from gunicorn_backlog.scoreboard.kind import Kind
from gunicorn_backlog.scoreboard.reader import Reader
from gunicorn_backlog.scoreboard.scoreboard import Scoreboard
from gunicorn_backlog.scoreboard.slot import SINCE_NS, Record
from gunicorn_backlog.workers.last_wait import LastWait
from gunicorn_backlog.workers.request_counters import track_busy
from tests.lab.ss import ss
from tests.lab.waiting import wait_for


@pytest.mark.parametrize(
    ("value", "drawn"),
    [(0, "    "), (0.001, "▏   "), (1, "█   "), (1.5, "█▌  "), (4, "████"), (5, "████")],
)
def test_a_bar(value: float, drawn: str) -> None:
    """Only 0 has an empty bar; a value over the limit fills the bar."""
    assert bar(BLOCKS, value, 4, 4) == drawn


@given(st.sampled_from([BLOCKS, ASCII]), st.floats(0, 1e9), st.floats(0, 1e9), st.integers(1, 99))
def test_a_bar_is_as_wide_as_it_is_told(
    glyphs: Glyphs, value: float, full: float, width: int
) -> None:
    """The bar has the requested width for every value."""
    assert len(bar(glyphs, value, full, width)) == width


@pytest.mark.parametrize(
    ("values", "drawn"),
    [([None, 0, 0], "·▁▁"), ([0, 1, 100], "▁▂█"), ([7], "█"), ([], "")],
)
def test_a_sparkline(values: list[int | None], drawn: str) -> None:
    """The highest value has full height, and 1 of 100 is visible."""
    assert sparkline(BLOCKS, values) == drawn


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (9.94, "9.9 s"),
        (59.4, "59 s"),
        (61, "1 min 1 s"),
        (3600, "1 h 0 min"),
        (90_061, "1 d 1 h"),
    ],
)
def test_a_duration(seconds: float, text: str) -> None:
    """A duration has its two greatest units."""
    assert duration(seconds) == text


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A listening socket."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock


def test_the_kernels_list_of_tcp_sockets(listener: socket.socket) -> None:
    """Step by step: 0, 1, 2 and again 1 waiting connections; ``ss`` agrees."""
    port, inode = listener.getsockname()[1], os.fstat(listener.fileno()).st_ino

    def waiting() -> int:
        (found,) = [
            found for found in listening(os.getpid(), socket.AF_INET) if found.inode == inode
        ]
        assert found.length == ss(f"127.0.0.1:{port}").recv_q
        return found.length

    assert waiting() == 0
    with socket.create_connection(("127.0.0.1", port)):
        wait_for("one waiting connection", lambda: waiting() == 1)
        with socket.create_connection(("127.0.0.1", port)):
            wait_for("two waiting connections", lambda: waiting() == 2)
            listener.accept()[0].close()
            assert waiting() == 1


@pytest.mark.parametrize("row", ["x", "0: 1:2 3 0A 4", "0: 1:2 3 0A 4:zz 6 7 8 9 10"])
def test_no_such_list(row: str) -> None:
    """A malformed row is refused."""
    with pytest.raises(QueueError):
        decode_tcp(f"header\n{row}\n")


def test_a_process() -> None:
    """The fields of our own process have the values known from inside."""
    pid = os.getpid()
    assert pid in procfs.pids()
    assert procfs.parent(pid) == os.getppid()
    assert procfs.own_pid(pid) == pid
    assert 0 <= procfs.age_s(procfs.started_ns(pid)) < 3600
    clock = Clock(pid)
    assert abs(clock.now_ns() - time.monotonic_ns()) < 1e9
    assert clock.of(procfs.started_ns(pid)) < time.monotonic_ns()
    with pytest.raises((FileNotFoundError, ProcessLookupError)):
        procfs.started_ns(4194304)


def test_a_process_that_its_parent_has_not_waited_for() -> None:
    """A zombie has no clock, and ``check`` then reports a server that has ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)
        with pytest.raises(EndedError):
            Clock(ended.pid)


def test_a_lack_of_descriptors_is_no_end_of_the_server() -> None:
    """Otherwise ``drained`` would exit with 0 beside a server that has requests."""
    server = Server(os.getpid(), procfs.started_ns(os.getpid()), None)  # type: ignore[arg-type]
    server.check_alive()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))  # open files stay
    found = []
    try:
        for read in (server.check_alive, lambda: Clock(server.pid)):
            with pytest.raises(InspectError) as error:
                read()
            found.append((type(error.value), str(error.value)))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    text = f"the process {server.pid} can't be read: Too many open files"
    assert found == [(InspectError, text)] * 2


def test_since_when_the_oldest_request_has_been_under_way() -> None:
    """A sync worker's request, or a pool's first one; None for an idle worker."""
    scoreboard = Scoreboard(slots=4, thread_rows=32)
    now_ns = iter(range(100, 200))
    last_wait = LastWait(skips=False)
    seen: list[dict[int, int]] = []

    def look() -> dict[int, int]:
        reader: Reader = scoreboard.reader
        rows = reader.read({11: 1, 12: 2}).by_pid
        seen.append({pid: row.oldest_ns for pid, row in rows.items() if row.oldest_ns is not None})
        return seen[-1]

    sync = scoreboard.claim(11, 1, Kind.SYNC, 1)
    assert look() == {}
    parsed_ns = iter((100, 102, 101))

    def request(record: Record) -> Callable[[], object]:
        def parse_head() -> dict[int, int]:
            record.words[SINCE_NS] = next(parsed_ns)
            return look()

        return parse_head

    track_busy(look, sync, last_wait, clock_ns=lambda: next(now_ns))()
    assert seen[-1] == {}  # its head is not parsed yet
    track_busy(request(sync), sync, last_wait, clock_ns=lambda: next(now_ns))()
    assert seen[-1] == {11: 100}
    pool = scoreboard.claim(12, 2, Kind.GTHREAD, 9)
    first, second = pool.threads[2], pool.threads[8]
    later = track_busy(request(first), first, last_wait, clock_ns=lambda: next(now_ns))

    def both() -> object:
        second.words[SINCE_NS] = next(parsed_ns)
        return later()

    track_busy(both, second, last_wait, clock_ns=lambda: next(now_ns))()
    assert seen[-1] == {12: 101}
    assert look() == {}
