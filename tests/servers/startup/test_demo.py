"""examples/demo.py, run by its command line."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
from agent import StandInAgent

from tests.lab.nightly import nightly
from tests.lab.short_and_soak import forms
from tests.lab.waiting import wait_for

DEMO = Path(__file__).parents[3] / "examples" / "demo.py"
LONGEST_S = 40


# By day the two signals share the moments.
MOMENTS_S = (0.3, 1.0, 2.5, 6.0)
STOPS = [
    (signal.SIGINT, MOMENTS_S[::2]),
    (signal.SIGTERM, MOMENTS_S[1::2]),
    nightly(signal.SIGINT, MOMENTS_S),
    nightly(signal.SIGTERM, MOMENTS_S),
]
# The demo at another pace.
PACED = f"""
import sys
sys.path.insert(0, {str(DEMO.parent)!r})
from dataclasses import replace
import demo
pace = float(sys.argv.pop(1))
demo.INTERVAL_S *= pace
path = f"/sleep/{{0.4 * pace}}"
phases = [replace(phase, lasts_s=phase.lasts_s * pace, path=path) for phase in demo.SYNC.phases]
demo.SYNC = replace(demo.SYNC, phases=tuple(phases))
demo.main()
"""


def start(*arguments: str, **environ: str) -> subprocess.Popen[str]:
    """Start the demo in a new session, with a wide terminal."""
    return subprocess.Popen(
        [sys.executable, *arguments],
        env=os.environ | {"COLUMNS": "120"} | environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


@forms("pace", short=0.4, long=1.0)
def test_its_summary_shows_each_phase(pace: float) -> None:
    """Idle and drained: no backlog, all workers idle. Saturated: a backlog, all workers working.

    An Agent given by ``--agent`` receives the same pushes.
    """
    command = ("-c", PACED, str(pace)) if pace < 1 else (str(DEMO),)
    interval = {} if pace == 1 else {"GUNICORN_BACKLOG_INTERVAL": str(pace)}
    with StandInAgent() as real:
        began_s = time.monotonic()
        output, _ = start(*command, "--agent", real.url, **interval).communicate(timeout=60)
        took_s = time.monotonic() - began_s

    rows = [re.split(r"\s*│\s*", line)[1:-1] for line in output.splitlines() if "│" in line]
    seen = {name: values for name, _pushes, *values in rows}
    for phase in ("idle", "drained"):
        backlog, _, working, idle, in_flight = seen[phase]
        assert (backlog, working, idle, in_flight) == ("0", "0", "2", "0")
    assert seen["busy"][0] in ("0", "0..1")  # the only client's next request may wait a moment
    backlog, limit, working, idle, in_flight = seen["saturated"]
    assert int(backlog.partition("..")[0]) > 0
    assert int(limit) > 0
    assert (working, idle, in_flight) == ("2", "0", "2")
    assert took_s < LONGEST_S
    assert len(real.datagrams) >= 15


@pytest.mark.parametrize(("number", "moments_s"), STOPS)
def test_it_can_be_stopped_at_any_moment(
    number: signal.Signals, moments_s: tuple[float, ...]
) -> None:
    """SIGINT and SIGTERM end the demo within 20 s, and no process is left."""
    marks = {after_s: f"{number.name}-{after_s}-{os.getpid()}" for after_s in moments_s}
    demos = {after_s: start(str(DEMO), LAB_DEMO=mark) for after_s, mark in marks.items()}
    began_s = time.monotonic()
    for after_s, demo in demos.items():
        time.sleep(max(0, began_s + after_s - time.monotonic()))
        demo.send_signal(number)
    for after_s, demo in demos.items():
        demo.communicate(timeout=20)
        assert demo.returncode != 0, after_s
    for mark in marks.values():
        wait_for("the end of all its processes", partial(is_gone, mark))


def is_gone(mark: str) -> bool:
    """Return whether no process has the mark."""
    return not marked(mark)


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
    demo = start(str(DEMO), "--agent", "http://localhost")
    output, _ = demo.communicate(timeout=20)
    assert demo.returncode == 2
    assert "the scheme is 'http'; allowed: udp://host:port" in output
    assert "Traceback" not in output
