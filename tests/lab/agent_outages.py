"""An Agent that was away and is back: what the log says, and how soon points flow."""

from __future__ import annotations

from tests.lab.server import Server
from tests.lab.waiting import wait_for

AWAY, AGAIN = "does not take metrics", "takes metrics again"
STRAY_S = 0.25  # more than was to be: until a test sees it
SHARED_STRAY_S = 1.0  # where other tests run beside it


def wait_until_told(server: Server, text: str, times: int) -> None:
    """Wait until the log says something for that time."""
    wait_for(f"{text!r}, {times} times, in {server.log}", lambda: server.log.count(text) == times)


def check_lines(server: Server, rounds: int) -> None:
    """Assert that there was one line when it went and one when it was back, each time, in turns."""
    lines = server.our_lines
    assert [AWAY in line for line in lines] == [True, False] * rounds, lines
    assert [AGAIN in line for line in lines] == [False, True] * rounds, lines
    assert "Traceback" not in server.log
    assert "submitting packet" not in server.log


def stray_s(rounds: int) -> float:
    """Return how far from a bound the machine may be; a short form shares it with other tests."""
    return SHARED_STRAY_S if rounds == 1 else STRAY_S
