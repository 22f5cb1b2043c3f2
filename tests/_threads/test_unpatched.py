"""unpatched: threads, locks and sockets of the standard library, with and without a patch."""

from __future__ import annotations

import _thread
import importlib.util
import subprocess
import sys
import threading
import time

import pytest

from gunicorn_backlog._threads.unpatched import Event, original

PATCHES = {
    "nothing": "",
    "gevent": "from gevent import monkey; monkey.patch_all()",
    "eventlet": "import eventlet; eventlet.monkey_patch()",
}
PROGRAM = """
from gunicorn_backlog._threads.unpatched import Event, Socket, original
import os, time
done = Event()
threads = lambda: len(os.listdir('/proc/self/task'))
before = threads()
def run():
    number.append(threads() - before)
    done.set()
number = []
original("_thread", "start_new_thread")(run, ())
assert done.wait(5), "a real thread runs while this one waits"
assert number == [1], number
assert Socket.__module__ == "socket" and "green" not in repr(Socket.__mro__), Socket.__mro__
assert original("socket", "getaddrinfo")("127.0.0.1", 1)
"""


@pytest.mark.parametrize("patch", PATCHES)
def test_a_real_thread_whatever_is_patched(patch: str) -> None:
    """While the main thread waits for a lock, another OS thread runs."""
    if patch != "nothing" and importlib.util.find_spec(patch) is None:
        pytest.skip(f"{patch} is not installed")
    program = f"{PATCHES[patch]}\n{PROGRAM}"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_event() -> None:
    """``wait`` returns False after the timeout, and True at once after one or two ``set``."""
    event = Event()
    assert not event.is_set()
    assert not event.wait(0.01)
    event.set()
    event.set()
    assert event.is_set()
    assert event.wait(10)
    assert event.wait(10)


def test_event_wakes_the_waiting_thread() -> None:
    """``wait`` ends when another thread sets the event."""
    event = Event()
    threading.Timer(0.05, event.set).start()
    began_s = time.monotonic()
    assert event.wait(20)
    assert time.monotonic() - began_s < 10


def test_original_without_a_patch_is_the_module_s() -> None:
    """``original`` returns the module's own function."""
    assert original("_thread", "get_ident") is _thread.get_ident
