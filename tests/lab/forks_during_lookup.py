"""Forks during look-ups of a name; each child looks up another name.

    python -m tests.lab.forks_during_lookup URL FORKS

prints how many of the children hung.
"""

from __future__ import annotations

import itertools
import os
import random
import signal
import socket
import sys
import time

from gunicorn_backlog.config.agent_address import parse
from gunicorn_backlog.dogstatsd.resolver import REFRESH_S, Resolver

HANGS_S = 20
LOOK_UP_S = 0.0003  # about the duration of a look-up
# Longer than the fork gate's 0.04 s: on a busy machine the look-up's thread can wait as long for a
# CPU, and a fork that does not wait for its end copies its locks.
WAIT_S = 10


def child_hung() -> bool:
    """Fork a child that looks up a name; return whether the child had to be killed."""
    pid = os.fork()
    if pid == 0:
        signal.alarm(HANGS_S)
        socket.getaddrinfo("localhost", 80)
        os._exit(0)
    return os.WIFSIGNALED(os.waitpid(pid, 0)[1])


def main() -> None:
    """Start look-ups, and fork at a random moment of each."""
    url, forks = sys.argv[1:]
    times_s = itertools.count(step=int(REFRESH_S))  # so that each refresh starts a look-up
    resolver = Resolver(parse(url), clock=lambda: float(next(times_s)))
    os.register_at_fork(before=lambda: resolver.wait_for_look_up(time.monotonic() + WAIT_S))
    hung = 0
    for _ in range(int(forks)):
        resolver.refresh(unreachable=True)
        time.sleep(random.uniform(0, LOOK_UP_S))
        hung += child_hung()
    print(hung)


if __name__ == "__main__":
    main()
