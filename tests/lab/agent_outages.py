"""Log lines of an Agent's outages, and bounds for the time until points arrive again."""

from __future__ import annotations

from tests.lab.server import Server
from tests.lab.waiting import wait_for

AWAY, AGAIN = "does not accept metrics", "accepts metrics again"
STRAY_S = 0.25  # tolerance: the delay until a test sees a push
SHARED_STRAY_S = 1.0  # the same while other tests run


def wait_until_logged(server: Server, text: str, times: int) -> None:
    """Wait until the log contains a text ``times`` times."""
    wait_for(f"{text!r}, {times} times, in {server.log}", lambda: server.log.count(text) == times)


def check_lines(server: Server, rounds: int) -> None:
    """Assert that each outage has one line at its begin and one at its end."""
    lines = server.our_lines
    assert [AWAY in line for line in lines] == [True, False] * rounds, lines
    assert [AGAIN in line for line in lines] == [False, True] * rounds, lines
    assert "Traceback" not in server.log
    assert "submitting packet" not in server.log


def stray_s(rounds: int) -> float:
    """Return the tolerance in seconds; a short form runs beside other tests."""
    return SHARED_STRAY_S if rounds == 1 else STRAY_S
