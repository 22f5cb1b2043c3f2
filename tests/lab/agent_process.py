"""A stand-in Agent in a process of its own, which can be killed and stopped."""

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
    """Listens at an address; a context manager whose exit kills the process.

    ``began_s``: time of the monotonic clock when it listened.
    """

    def __init__(self, address: Address, folder: Path) -> None:
        if address.path:  # a killed process leaves its socket; the Agent removes it likewise
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
        """All text that was received so far."""
        return self._output.read_text()

    @property
    def pushes(self) -> int:
        """Number of pushes received so far."""
        return self.text.count(LAST_LINE)

    def wait_for_a_push(self, since_s: float, containing: str = LAST_LINE) -> float:
        """Wait for a push with a text; return the seconds between ``since_s`` and its arrival."""
        wait_for(f"a push with {containing}", lambda: containing in self.text)
        return time.monotonic() - since_s

    def stop(self) -> None:
        """Stop the process: its socket stays, and is not read."""
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Continue the process."""
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """Kill the process; a Unix socket's path remains. A second call does nothing."""
        self._process.kill()
        self._process.wait()
