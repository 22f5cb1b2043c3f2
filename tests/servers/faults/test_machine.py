"""A machine without memory, descriptors or threads, a stopped arbiter, and a changed clock.

gunicorn serves; all numbers are right, and complete again when the cause is over.
"""

from __future__ import annotations

import resource
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pytest
from agent import StandInAgent

from gunicorn_backlog.config.agent_address import Address
from tests.conftest import AgentFactory, ServerFactory
from tests.lab.cli_in_process import status_here
from tests.lab.gunicorn_versions import VERSIONS, Gunicorn
from tests.lab.nightly import NEWEST_BY_DAY, nightly
from tests.lab.procfs import descriptors, our_threads
from tests.lab.pushes import Push, check_sanity, next_pushes, pushes, wait_until_all_are_idle
from tests.lab.sandbox import on_read_only_files, refusing, with_false_time
from tests.lab.server import CONFIG, Server
from tests.lab.short_and_soak import forms
from tests.lab.waiting import wait_for

INTERVAL_S = 0.1
PACE_S = 0.5  # where the times of pushes are checked
BOTH_WORKING = {"idle": 0, "working": 2, "starting": 0}
HOUR_S = 3600
TRIES = 5
READINGS = 21  # over three pushes

# libfaketime 0.9.10 fails at the absolute clock_nanosleep() of Python's sleep().
SLEEP_BY_SELECT = """
import select, time
time.sleep = lambda seconds: select.select([], [], [], seconds)
"""

# The limit applies to our when_ready only, so that gunicorn itself can start.
UNDER_A_LIMIT = """
import os, resource
from gunicorn_backlog.dogstatsd import reporter
from gunicorn_backlog import hooks
from gunicorn_backlog.arbiter import monitor
from gunicorn_backlog.workers import sync  # imported before the limit
from gunicorn_backlog.hooks import on_exit, post_worker_init

def when_ready(server):
    former = resource.getrlimit({kind})
    resource.setrlimit({kind}, ({limit}, former[1]))
    try:
        hooks.when_ready(server)
    finally:
        resource.setrlimit({kind}, former)
"""
DESCRIPTORS_USED = "1 + max(int(fd) for fd in os.listdir('/proc/self/fd')[:-1])"
ADDRESSES_USED = "resource.getpagesize() * int(open('/proc/self/statm').read().split()[0])"
NO_MEMORY = f"{ADDRESSES_USED} + 20 * 2**20"  # enough for a thread, not for the scoreboard
NO_THREAD = f"{ADDRESSES_USED} + 4 * 2**20"


def environ(agent: StandInAgent, *, interval_s: float = INTERVAL_S, **more: str) -> dict[str, str]:
    """Return the variables for the Agent's address and the interval."""
    pace = {"GUNICORN_BACKLOG_INTERVAL": str(interval_s), "GUNICORN_BACKLOG_SAMPLES": "5"}
    return pace | {"GUNICORN_BACKLOG_URL": agent.url} | more


def check_that_both_work(server: Server, agent: StandInAgent) -> None:
    """Hold three requests of two workers: two working, one in the accept queue."""
    wait_until_all_are_idle(agent)
    server.hold(3)
    wait_for("both to work", lambda: next_pushes(agent, 1)[0].workers == BOTH_WORKING)
    (push,) = next_pushes(agent, 1)
    assert push.workers == BOTH_WORKING
    assert set(push.values("gunicorn.backlog", f"listener:{server.address}")) == {1}
    server.let_go()
    wait_until_all_are_idle(agent)


@NEWEST_BY_DAY
def test_a_kernel_without_memfd(
    gunicorn: Gunicorn, serve: ServerFactory, agent: StandInAgent, tmp_path: Path
) -> None:
    """The shared memory is an unlinked temporary file; all numbers are right."""
    (tmp_path / "temporary").mkdir()
    variables = environ(agent, TMPDIR=str(tmp_path / "temporary"))
    server = serve(gunicorn, run_by=refusing("memfd"), environ=variables)
    check_that_both_work(server, agent)
    assert not any("/memfd:" in link for link in descriptors(server.pid).values())
    assert list((tmp_path / "temporary").iterdir()) == []
    assert server.our_lines == []


def test_a_read_only_file_system(
    newest: Gunicorn, serve: ServerFactory, agent: StandInAgent
) -> None:
    """All numbers are sent: we write no file."""
    arguments = ("--worker-tmp-dir", "/dev/shm")
    server = serve(newest, run_by=on_read_only_files(), environ=environ(agent), arguments=arguments)
    wait_until_all_are_idle(agent)
    assert b"con" in server.get("/plain")
    assert server.our_lines == []


def test_neither_memfd_nor_a_file(
    newest: Gunicorn, serve: ServerFactory, agent: StandInAgent
) -> None:
    """Without shared memory: workers are counted, states are absent, one line gives the reason."""
    arguments = ("--worker-tmp-dir", "/dev/shm")
    run_by = (*on_read_only_files(), *refusing("memfd"))
    server = serve(newest, run_by=run_by, environ=environ(agent), arguments=arguments)
    server.wait_until_it_serves()
    wait_for("both workers", server.both_worker_pids)
    for push in next_pushes(agent, 2):
        assert push.workers == {"": 2}
        assert set(push.values("gunicorn.backlog")) == {0}
    assert [line.partition(": ")[2][:16] for line in server.our_lines] == ["no shared memory"]


LIMITS = {
    "no descriptor": ("resource.RLIMIT_NOFILE", DESCRIPTORS_USED),
    "no memory": ("resource.RLIMIT_AS", NO_MEMORY),
    "no thread": ("resource.RLIMIT_AS", NO_THREAD),
}
# In the oldest gunicorn the limit with the most effects; the others at night.
LIMITED = [
    *((name, VERSIONS[-1]) for name in LIMITS),
    ("no thread", VERSIONS[0]),
    *(nightly(name, VERSIONS[0]) for name in ("no descriptor", "no memory")),
]


def lasting_warnings(server: Server) -> list[str]:
    """Return the warnings in force, without one that expires after two minutes."""
    warnings = status_here(server.pid)["server"]["warnings"]
    return [text for text in warnings if "wait for a CPU can't be read" not in text]


@pytest.mark.parametrize(("name", "gunicorn"), LIMITED, indirect=["gunicorn"])
def test_a_limit_at_the_start(
    name: str, gunicorn: Gunicorn, serve: ServerFactory, agent: StandInAgent
) -> None:
    """gunicorn serves, a line names what is not sent, and after a reload all numbers are sent."""
    kind, limit = LIMITS[name]
    config = UNDER_A_LIMIT.format(kind=kind, limit=limit)
    server = serve(gunicorn, config=config, environ=environ(agent)).wait_until_it_serves()
    wait_for("our lines", lambda: len(server.our_lines) == (1 if name == "no memory" else 2))
    (first, *others) = server.our_lines
    assert "no shared memory" in first
    if name == "no thread":
        assert len(others) == 1
        assert "thread" in others[0]
        assert our_threads(server.pid) == []
    else:
        wait_for("both workers", server.both_worker_pids)
        assert next_pushes(agent, 1)[0].workers == {"": 2}
    server.reload()
    check_that_both_work(server, agent)
    assert server.our_lines == [first, *others]
    wait_for("the warnings to end", lambda: not lasting_warnings(server))


def test_no_descriptor_is_left(
    newest: Gunicorn, serve: ServerFactory, listen: AgentFactory, tmp_path: Path
) -> None:
    """The Agent returns while the arbiter can't open a socket: pushes resume later."""
    address = Address("unixgram", path=str(tmp_path / "agent"))
    with StandInAgent(address) as agent:
        bind = ("127.0.0.1:0", f"unix:{tmp_path}/app.sock")
        server = serve(newest, environ=environ(agent), bind=bind)
        wait_until_all_are_idle(agent)
    wait_for("the line of a lost Agent", lambda: len(server.our_lines) == 1)
    with no_descriptor_left(server), StandInAgent(address) as agent:
        wait_for("the line of the missing descriptor", lambda: "EMFILE" in server.log)
        assert agent.datagrams == []
    agent = listen(address)
    wait_for("a push", lambda: agent.datagrams)
    for push in next_pushes(agent, 2):
        assert len(push.all("gunicorn.backlog")) == 2
    wait_for("the Agent to be back", lambda: "accepts metrics again" in server.log)
    assert "Traceback" not in server.log


@contextmanager
def no_descriptor_left(server: Server) -> Iterator[None]:
    """Forbid the arbiter to open descriptors within the context.

    A push opens some for a moment: the lowest of several readings has none of these.
    """
    readings = []
    for _ in range(READINGS):
        readings.append(max(descriptors(server.pid)))
        time.sleep(INTERVAL_S / 7)
    used = min(readings) + 1
    former = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (used, former[1]))
    yield
    resource.prlimit(server.pid, resource.RLIMIT_NOFILE, former)


@forms("hours", short=(1, -1), long=(1, -1) * 10)
def test_the_time_of_day_is_set(
    hours: tuple[int, ...],
    newest: Gunicorn,
    serve: ServerFactory,
    agent: StandInAgent,
    tmp_path: Path,
) -> None:
    """By an hour, forward and back: pushes keep their interval and their numbers."""
    offset = tmp_path / "offset"
    offset.write_text("+0\n")
    variables = environ(agent, interval_s=PACE_S, **with_false_time(offset))
    config = f"{SLEEP_BY_SELECT}{CONFIG}timeout = 120\n"
    server = serve(newest, config=config, environ=variables)
    wait_until_all_are_idle(agent)
    server.hold(1)
    wait_for("one to work", lambda: next_pushes(agent, 1)[0].workers["working"] == 1)
    for _ in range(TRIES):
        found = while_it_is_set(hours, offset, server, agent)
        gaps_s = [after.at_s - before.at_s for before, after in pairwise(found)]
        shares = [push.values("gunicorn.workers.utilization")[0] for push in found]
        print(f"gaps: {min(gaps_s):.2f} to {max(gaps_s):.2f} s; {min(shares)} to {max(shares)} %")
        # On a busy machine the other worker's requests take long.
        if max(gaps_s) < 2 * PACE_S and shares == pytest.approx([50] * len(shares), abs=5):
            break
    else:
        raise AssertionError(f"in each of {TRIES} tries gaps or utilization are wrong")
    server.let_go()


def while_it_is_set(
    hours: tuple[int, ...], offset: Path, server: Server, agent: StandInAgent
) -> list[Push]:
    """Return the pushes while the time is set; assert that the server serves, and their counts."""
    seen = len(pushes(agent))
    for off in hours:
        offset.write_text(f"{off * HOUR_S:+d}\n")
        next_pushes(agent, 1)
        assert b"con" in server.get("/plain")
    next_pushes(agent, 1)
    found = pushes(agent)[seen:]
    check_sanity(found, workers=2, connections=2)
    for push in found:
        assert push.workers == {"idle": 1, "working": 1, "starting": 0}
    return found


@NEWEST_BY_DAY
@forms("stopped_s", short=2, long=30)
def test_the_arbiter_is_stopped_for_a_while(
    stopped_s: float, gunicorn: Gunicorn, serve: ServerFactory, agent: StandInAgent
) -> None:
    """After SIGSTOP and SIGCONT: no burst of pushes, and all numbers are possible."""
    variables = environ(agent, interval_s=PACE_S)
    server = serve(gunicorn, environ=variables, arguments=("--timeout", "120"))
    wait_until_all_are_idle(agent)
    server.hold(1)
    wait_for("one to work", lambda: next_pushes(agent, 1)[0].workers["working"] == 1)
    server.signal(signal.SIGSTOP)
    time.sleep(stopped_s)  # no condition to wait for
    seen = len(pushes(agent))
    server.signal(signal.SIGCONT)
    continued_s = time.monotonic()
    wait_for("four pushes", lambda: len(pushes(agent)) >= seen + 4)
    after = pushes(agent)[seen:]
    print(f"{after[1].at_s - continued_s:.2f} s to the second push")
    assert after[3].at_s - continued_s > 2 * PACE_S
    check_sanity(pushes(agent), workers=2, connections=2)
    for push in after[1:]:
        assert push.workers == {"idle": 1, "working": 1, "starting": 0}
        assert push.values("gunicorn.workers.utilization")[0] == pytest.approx(50, abs=5)
    server.let_go()
