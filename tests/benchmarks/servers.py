"""Real gunicorns of this environment, with our hooks and without, for the benchmarks."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.benchmarks.stand_in import deaf_agent
from tests.lab.gunicorn_versions import Gunicorn
from tests.lab.procfs import has_own_handlers
from tests.lab.server import CONFIG, Server
from tests.lab.waiting import wait_for

WITHOUT, WITH = "", CONFIG

# The floors. Datadog's client without the rest of its package, as ours imports it:
ONLY_CLIENT = """
def when_ready(server):
    import threading
    from gunicorn_backlog.dogstatsd.isolated_import import isolated_import
    DogStatsd = isolated_import("datadog.dogstatsd.base", {}).DogStatsd
    client = DogStatsd(host="127.0.0.1", port=9, disable_telemetry=True, track_instance=False)
    client.gauge("a", 1)
    threading.Thread(target=threading.Event().wait, daemon=True).start()
"""
# ... and all of our modules that an arbiter of sync workers imports, of which nothing is used:
ONLY_MODULES = (
    ONLY_CLIENT
    + """
    import gc
    import gunicorn_backlog.hooks, gunicorn_backlog.arbiter.monitor
    import gunicorn_backlog.dogstatsd.reporter, gunicorn_backlog.workers.sync
    gc.collect(1)
"""
)


@contextmanager
def compiled() -> Iterator[dict[str, str]]:
    """Return variables with which Python keeps compiled modules, as an installation has them.

    An environment may forbid to write them, and then each start compiles our modules again.
    """
    with TemporaryDirectory() as folder:
        yield {"PYTHONPYCACHEPREFIX": folder, "PYTHONDONTWRITEBYTECODE": ""}


@contextmanager
def running(config: str, *, workers: int = 4, **options: Any) -> Iterator[Server]:
    """Run a gunicorn until the context exits; its pushes go to a UDP port without a reader."""
    with TemporaryDirectory() as folder, deaf_agent() as agent:
        environ = {"GUNICORN_BACKLOG_URL": f"udp://127.0.0.1:{agent.getsockname()[1]}"}
        environ |= options.pop("environ", {})
        gunicorn = Gunicorn(version("gunicorn"), Path(sys.prefix))
        with Server(
            gunicorn, Path(folder), config=config, workers=workers, environ=environ, **options
        ) as server:
            server.wait_until_it_serves()
            wait_for("all workers", lambda: all_are_up(server, workers))
            yield server


def all_are_up(server: Server, workers: int) -> bool:
    """Return whether ``workers`` workers exist, and each has installed its signal handlers."""
    pids = server.worker_pids()
    return len(pids) == workers and all(map(has_own_handlers, pids))
