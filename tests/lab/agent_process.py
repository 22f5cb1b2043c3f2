"""A stand-in Agent in a process of its own, which can be killed, and held up unawares."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from gunicorn_backlog.config.agent_address import Address
from tests.lab.sandbox import ROOT
from tests.lab.waiting import wait_for

PROGRAM = ROOT / "examples" / "agent.py"
LAST_LINE = "_sc|gunicorn.is_running|"  # of each push


class AgentProcess:
    """Listens at an address from the time it is made; a context manager that ends with a kill."""

    def __init__(self, address: Address, folder: Path) -> None:
        if address.path:  # the socket of one that was killed: the Agent removes it, too
            Path(address.path).unlink(missing_ok=True)
        self._output = folder / f"agent-{time.monotonic_ns()}"
        with self._output.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, str(PROGRAM), str(address)],
                env=os.environ | {"PYTHONPATH": str(ROOT)},
                stdout=output,
                stderr=output,
            )
        wait_for("the Agent to listen", lambda: "listening at" in self.text)
        self.began_s = time.monotonic()

    def __enter__(self) -> AgentProcess:
        return self

    def __exit__(self, *exception: object) -> None:
        self.kill()

    @property
    def text(self) -> str:
        """What it received so far."""
        return self._output.read_text()

    @property
    def pushes(self) -> int:
        """How many pushes it received so far."""
        return self.text.count(LAST_LINE)

    def wait_for_a_push(self, since_s: float, saying: str = LAST_LINE) -> float:
        """Wait for a push that says this, and return how many seconds after ``since_s`` it was."""
        wait_for(f"a push with {saying}", lambda: saying in self.text)
        return time.monotonic() - since_s

    def stop(self) -> None:
        """Stop it as a machine does that is too busy for it: its socket stays, nobody reads."""
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it run again."""
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """Kill it; a Unix socket's path stays behind. A second time it does nothing."""
        self._process.kill()
        self._process.wait()
