"""Worker classes that the config file defines: made anew at each HUP, and gone with the former."""

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
# What outlives a HUP stands in a module. gunicorn calls nworkers_changed at TTIN, in the arbiter.
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
    alive = [it for it in kept.classes if it() is not None]
    open(COUNTED, "w").write(f"{len(alive)} of {len(kept.classes)}")
"""


def reload(server: Server) -> None:
    """Have the config executed again, and wait until the workers are of the new class."""
    former = server.worker_pids()
    server.reload()
    wait_for("other workers", lambda: server.worker_pids().isdisjoint(former))
    wait_for("both", server.both_worker_pids)


@pytest.mark.parametrize("hooks", [CONFIG, ""], ids=["watched", "without us"])
def test_no_class_stays_alive(
    hooks: str, gunicorn: Gunicorn, serve: ServerFactory, tmp_path: Path
) -> None:
    """Of twenty HUPs' classes the current one is left, and the first, which gunicorn keeps."""
    counted = tmp_path / "counted"
    config = f"{hooks}COUNTED = {str(counted)!r}\n{OWN_CLASS}"
    server = serve(gunicorn, workers=2, config=config, environ=INTERVAL).wait_until_it_serves()
    wait_for("both", server.both_worker_pids)
    for _ in range(RELOADS if hooks else 3):
        reload(server)
    counted.unlink()  # gunicorn calls the hook at each HUP, too, when the former workers live
    server.signal(signal.SIGTTIN)
    wait_for("the count", lambda: counted.exists() and counted.read_text())
    assert counted.read_text().startswith("2 of ")
