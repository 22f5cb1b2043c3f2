"""examples/demo.py, run by its command line."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from agent import StandInAgent

from tests.lab.waiting import wait_for

DEMO = Path(__file__).parents[3] / "examples" / "demo.py"
LONGEST_S = 40


def start(*arguments: str, mark: str = "") -> subprocess.Popen[str]:
    """Start the demo in a new session, with a wide terminal."""
    return subprocess.Popen(
        [sys.executable, str(DEMO), *arguments],
        env=os.environ | {"COLUMNS": "120", "LAB_DEMO": mark},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def test_its_summary_shows_each_phase() -> None:
    """Idle and drained: no backlog, all workers idle. Saturated: a backlog, all workers working.

    An Agent given by ``--agent`` receives the same pushes.
    """
    with StandInAgent() as real:
        began_s = time.monotonic()
        output, _ = start("--agent", real.url).communicate(timeout=60)
        took_s = time.monotonic() - began_s

    rows = [re.split(r"\s*│\s*", line)[1:-1] for line in output.splitlines() if "│" in line]
    seen = {name: values for name, _pushes, *values in rows}
    for phase in ("idle", "drained"):
        backlog, _, working, idle, in_flight = seen[phase]
        assert (backlog, working, idle, in_flight) == ("0", "0", "2", "0")
    assert seen["busy"][0] == "0"
    backlog, limit, working, idle, in_flight = seen["saturated"]
    assert int(backlog.partition("..")[0]) > 0
    assert int(limit) > 0
    assert (working, idle, in_flight) == ("2", "0", "2")
    assert took_s < LONGEST_S
    assert len(real.datagrams) >= 15


def test_the_event_loop() -> None:
    """Busy: half of the time. Blocked: all of it. Full pool: calls wait while the loop idles."""
    output, _ = start("--async").communicate(timeout=60)
    rows = [re.split(r"\s*│\s*", line)[1:-1] for line in output.splitlines() if "│" in line]
    seen = {name: [value.split("..") for value in values] for name, _pushes, *values in rows}
    for phase in ("idle", "drained"):
        utilization, saturated, _, threads, queued, in_flight = seen[phase]
        assert float(utilization[-1]) < 20
        assert (saturated, threads, queued, in_flight) == (["0"], ["0"], ["0"], ["0"])
    assert 20 < float(seen["busy"][0][0]) < 80
    utilization, saturated, delay, *_ = seen["blocked"]
    assert float(utilization[-1]) > 90
    assert float(saturated[-1]) > 90
    assert float(delay[-1]) > 1000
    utilization, saturated, _, threads, queued, in_flight = seen["full pool"]
    assert float(utilization[-1]) < 50
    assert (saturated, threads, in_flight) == (["0"], ["4"], ["16"])
    assert float(queued[0]) > 5


@pytest.mark.parametrize("after_s", [0.3, 1.0, 2.5, 6.0])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_can_be_stopped_at_any_moment(after_s: float, number: signal.Signals) -> None:
    """SIGINT and SIGTERM end the demo within 20 s, and no process is left."""
    mark = f"{number.name}-{after_s}-{os.getpid()}"
    demo = start(mark=mark)
    time.sleep(after_s)
    demo.send_signal(number)
    demo.communicate(timeout=20)

    assert demo.returncode != 0
    wait_for("the end of all processes", lambda: not marked(mark))


def marked(mark: str) -> list[bytes]:
    """Return the command lines of all processes with the mark in their environment."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if f"LAB_DEMO={mark}".encode() in (process / "environ").read_bytes().split(b"\0"):
                found.append((process / "cmdline").read_bytes())
    return found


def test_a_bad_url_is_one_line() -> None:
    """The line has the reason and the allowed forms."""
    demo = start("--agent", "http://localhost")
    output, _ = demo.communicate(timeout=20)
    assert demo.returncode == 2
    assert "the scheme is 'http'; allowed: udp://host:port" in output
    assert "Traceback" not in output
