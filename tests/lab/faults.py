"""Faults, one at a time, for a gunicorn under load: workers, arbiter, Agent, and clock."""

from __future__ import annotations

import os
import random
import signal
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from agent import Datagram, StandInAgent

from gunicorn_backlog.config.agent_address import Address
from tests.lab.procfs import has_own_handlers
from tests.lab.server import Server
from tests.lab.waiting import wait_for

LASTS_S = 1.0


class MovingAgent:
    """A stand-in Agent at a Unix socket that starts and stops; keeps all ``datagrams``."""

    def __init__(self, path: Path) -> None:
        self.address = Address("unixgram", path=str(path))
        self.datagrams: list[Datagram] = []
        self._agent: StandInAgent | None = None

    @property
    def url(self) -> str:
        """The address, valid whether or not the Agent listens."""
        return str(self.address)

    def come(self) -> None:
        """Start to listen."""
        self._agent = StandInAgent(self.address, on_datagram=self.datagrams.append).__enter__()

    def go(self) -> None:
        """Stop listening."""
        if self._agent is not None:
            self._agent.stop()
        self._agent = None

    @contextmanager
    def deaf(self) -> Iterator[None]:
        """Listen with a full queue, and read nothing."""
        self.go()
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.bind(self.address.path)
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other, suppress(OSError):
                other.setblocking(False)
                while True:
                    other.sendto(b"full", self.address.path)
            yield
        Path(self.address.path).unlink()
        self.come()


class Faults:
    """Causes random faults; ``done`` counts them, ``windows`` lists begin, end and kind of each.

    :param offset: the file with the offset of the server's time of day.
    """

    def __init__(self, server: Server, agent: MovingAgent, offset: Path, *, seed: int) -> None:
        self.done: Counter[str] = Counter()
        self.windows: list[tuple[float, float, str]] = []
        self._server = server
        self._agent = agent
        self._offset = offset
        self._chance = random.Random(seed)

    def do_one(self) -> None:
        """Cause one fault, and return after its end."""
        kinds: dict[str, Callable[[], None]] = {
            fault.__name__: fault
            for fault in (
                self.kill_a_worker,
                self.abort_a_worker,
                self.stop_a_worker,
                self.stop_the_arbiter,
                self.more_and_fewer_workers,
                self.reload,
                self.upgrade_and_back,
                self.agent_away,
                self.agent_deaf,
                self.set_the_clock,
            )
        }
        kind = self._chance.choice(sorted(kinds))
        began_s = time.monotonic()
        kinds[kind]()
        self.done[kind] += 1
        self.windows.append((began_s, time.monotonic(), kind))

    def _worker(self) -> int:
        return self._chance.choice(sorted(self._server.worker_pids()))

    def kill_a_worker(self) -> None:
        """Send SIGKILL, as the kernel's OOM killer does."""
        with suppress(ProcessLookupError):
            os.kill(self._worker(), signal.SIGKILL)

    def abort_a_worker(self) -> None:
        """Send SIGABRT, as the arbiter does after the timeout."""
        with suppress(ProcessLookupError):
            os.kill(self._worker(), signal.SIGABRT)

    def stop_a_worker(self) -> None:
        """Send SIGSTOP, and SIGCONT after LASTS_S."""
        worker = self._worker()
        with suppress(ProcessLookupError):
            os.kill(worker, signal.SIGSTOP)
            time.sleep(LASTS_S)
            os.kill(worker, signal.SIGCONT)

    def stop_the_arbiter(self) -> None:
        """Send SIGSTOP, and SIGCONT after LASTS_S."""
        self._server.signal(signal.SIGSTOP)
        time.sleep(LASTS_S)
        self._server.signal(signal.SIGCONT)

    def more_and_fewer_workers(self) -> None:
        """Add a worker, and remove one."""
        self._server.signal(signal.SIGTTIN)
        time.sleep(LASTS_S)
        self._server.signal(signal.SIGTTOU)

    def reload(self) -> None:
        """Send SIGHUP with another tag in the config."""
        former = self._server.worker_pids()
        config = self._server.config.read_text().partition("\nconfigure(")[0]
        tag = f"color:{self._chance.choice(('red', 'green', 'blue'))}"
        self._server.reload(f"{config}\nconfigure(tags=[{tag!r}])\n")
        wait_for("the former workers to leave", lambda: not former & self._server.worker_pids())

    def upgrade_and_back(self) -> None:
        """Start a second master by SIGUSR2, and end it after its first push."""
        former = self._server.worker_pids()
        self._server.signal(signal.SIGUSR2)
        (new,) = wait_for("a new master", lambda: self._masters(former))
        seen = len(self._agent.datagrams)

        def has_pushed() -> bool:
            return any(b"app:lab.2" in each.octets for each in self._agent.datagrams[seen:])

        wait_for("a push of the new master", has_pushed)
        os.kill(new, signal.SIGTERM)
        wait_for("the new master to end", lambda: not Path(f"/proc/{new}").exists(), deadline_s=40)

    def _masters(self, former: set[int]) -> list[int]:
        """Return the arbiter's new children that handle SIGHUP and have children."""
        return [
            pid
            for pid in self._server.worker_pids() - former
            if not has_own_handlers(pid) and Path(f"/proc/{pid}/task/{pid}/children").read_text()
        ]

    def agent_away(self) -> None:
        """Stop the Agent, and start it after LASTS_S."""
        self._agent.go()
        time.sleep(LASTS_S)
        self._agent.come()

    def agent_deaf(self) -> None:
        """Fill the Agent's queue for LASTS_S."""
        with self._agent.deaf():
            time.sleep(LASTS_S)

    def set_the_clock(self) -> None:
        """Set the time of day by up to an hour, forward or back."""
        self._offset.write_text(f"{self._chance.randint(-3600, 3600):+d}\n")
