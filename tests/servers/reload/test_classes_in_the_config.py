"""Worker classes that the config file defines: each HUP creates one, and frees the former."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.conftest import ServerFactory
from tests.lab.gunicorn_versions import Gunicorn
from tests.lab.server import CONFIG, Server
from tests.lab.waiting import wait_for

RELOADS = 20
INTERVAL = {"GUNICORN_BACKLOG_INTERVAL": "0.1", "GUNICORN_BACKLOG_SAMPLES": "5"}
# A module keeps objects over a HUP. gunicorn calls nworkers_changed at TTIN, in the arbiter.
OWN_CLASS = """
import gc, sys, types, weakref
from gunicorn.workers.sync import SyncWorker

class Own(SyncWorker):
    pass

kept = sys.modules.setdefault("kept", types.ModuleType("kept"))
kept.Own, worker_class = Own, "kept.Own"
kept.classes = [*getattr(kept, "classes", ()), weakref.ref(Own)]

def nworkers_changed(server, new_value, old_value):
    gc.collect()
    alive = [ref for ref in kept.classes if ref() is not None]
    open(COUNTED, "w").write(f"{len(alive)} of {len(kept.classes)}")
"""


def reload(server: Server) -> None:
    """Reload the config, and wait until all workers have the new class."""
    former = server.worker_pids()
    server.reload()
    wait_for("other workers", lambda: server.worker_pids().isdisjoint(former))
    wait_for("both", server.both_worker_pids)


@pytest.mark.parametrize("hooks", [CONFIG, ""], ids=["with our hooks", "without"])
def test_no_class_stays_alive(
    hooks: str, gunicorn: Gunicorn, serve: ServerFactory, tmp_path: Path
) -> None:
    """After twenty HUPs the current class is alive, and the first one, which gunicorn keeps."""
    counted = tmp_path / "counted"
    config = f"{hooks}COUNTED = {str(counted)!r}\n{OWN_CLASS}"
    server = serve(gunicorn, workers=2, config=config, environ=INTERVAL).wait_until_it_serves()
    wait_for("both", server.both_worker_pids)
    for _ in range(RELOADS if hooks else 3):
        reload(server)
    counted.unlink()  # each HUP also called the hook, before the former workers ended
    server.signal(signal.SIGTTIN)
    wait_for("the count", lambda: counted.exists() and counted.read_text())
    assert counted.read_text().startswith("2 of ")
