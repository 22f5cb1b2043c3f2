"""What is added to gunicorn's start: the import in the config, and the arbiter's memory."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

from tests.lab.gunicorns import Gunicorn
from tests.lab.server import CONFIG, Server

ROUNDS = 21
SETTLE_S = 1.0
ROOT = Path(__file__).parents[2]

TIME_IMPORT = """
import time
import gunicorn.app.wsgiapp, gunicorn.arbiter, gunicorn.workers.sync
began_ns = time.perf_counter_ns()
import gunicorn_backlog.hooks
print((time.perf_counter_ns() - began_ns) / 1e6)
"""
# Each arbiter has one thread that sleeps, and sent something to nobody, as ours did.
ONLY_DATADOG = """
def when_ready(server):
    import threading
    from datadog.dogstatsd.base import DogStatsd
    DogStatsd(host="127.0.0.1", port=9, disable_telemetry=True).gauge("a", 1)
    threading.Thread(target=threading.Event().wait, daemon=True).start()
"""
CONFIGS = {"no hooks": "", "only datadog": ONLY_DATADOG, "gunicorn_backlog": CONFIG}


def quartiles(values: list[float], unit: str) -> str:
    """Return the median, and the quartiles about it."""
    low, median, high = statistics.quantiles(values, n=4)
    return f"{median:8.2f} {unit}  ({low:.2f} to {high:.2f}, {len(values)} rounds)"


def import_ms(*, first_ever: bool) -> float:
    """Import the hooks in a fresh interpreter, with or without their compiled files."""
    with tempfile.TemporaryDirectory() as empty:
        environ = os.environ | {"PYTHONPATH": str(ROOT)}
        program = TIME_IMPORT
        if first_ever:  # gunicorn's own are compiled: they were imported before
            hide = f"import sys; sys.pycache_prefix = {empty!r}\n"
            program = TIME_IMPORT.replace("began_ns =", hide + "began_ns =", 1)
        command = [sys.executable, "-c", program]
        done = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)
    return float(done.stdout)


def arbiter_rss_mb(config: str) -> float:
    """Start this environment's gunicorn with the config; return its arbiter's resident memory."""
    gunicorn = Gunicorn(version("gunicorn"), Path(sys.prefix))
    environ = {"GUNICORN_BACKLOG_URL": "udp://127.0.0.1:9", "GUNICORN_BACKLOG_INTERVAL": "0.1"}
    with (
        tempfile.TemporaryDirectory() as folder,
        Server(gunicorn, Path(folder), config=config, environ=environ) as server,
    ):
        server.wait_until_it_serves()
        time.sleep(SETTLE_S)
        rollup = Path(f"/proc/{server.pid}/smaps_rollup").read_text()
    (rss,) = [line for line in rollup.splitlines() if line.startswith("Rss:")]
    return int(rss.split()[1]) / 1024


def main() -> None:
    """Measure, alternating, and print."""
    print(
        f"Python {platform.python_version()}, gunicorn {version('gunicorn')}, "
        f"datadog {version('datadog')}, Linux {platform.release()}, {os.cpu_count()} cores"
    )
    first: list[float] = []
    later: list[float] = []
    for _ in range(ROUNDS):
        first.append(import_ms(first_ever=True))
        later.append(import_ms(first_ever=False))
    print("import of the hooks, beyond gunicorn's own")
    print(f"  first ever (not compiled)  {quartiles(first, 'ms')}")
    print(f"  afterwards                 {quartiles(later, 'ms')}")

    memory: dict[str, list[float]] = {name: [] for name in CONFIGS}
    for _ in range(ROUNDS):
        for name, config in CONFIGS.items():
            memory[name].append(arbiter_rss_mb(config))
    print("the arbiter's resident memory")
    for name, values in memory.items():
        print(f"  {name:26} {quartiles(values, 'MB')}")
    pairs = zip(memory["gunicorn_backlog"], memory["only datadog"], strict=True)
    print(f"  ours beside datadog        {quartiles([a - b for a, b in pairs], 'MB')}")


if __name__ == "__main__":
    main()
