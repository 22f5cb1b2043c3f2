"""Worker classes that the config file defines: each HUP creates one, and frees the former."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.conftest import ServerFactory
from tests.lab.gunicorn_versions import VERSIONS, Gunicorn
from tests.lab.nightly import nightly
from tests.lab.server import CONFIG, Server
from tests.lab.short_and_soak import forms
from tests.lab.waiting import wait_for

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
    """Reload the config, and wait until the only worker has the new class."""
    former = server.worker_pids()
    server.reload()
    wait_for("another worker", lambda: has_new_worker(server, former))


def has_new_worker(server: Server, former: set[int]) -> bool:
    """Return whether the only worker was forked after the former one."""
    pids = server.worker_pids()
    return len(pids) == 1 and pids.isdisjoint(former)


@forms("reloads", short=3, long=20)
@pytest.mark.parametrize(
    ("hooks", "gunicorn"),
    [
        (CONFIG, VERSIONS[0]),
        (CONFIG, VERSIONS[-1]),
        ("", VERSIONS[-1]),
        nightly("", VERSIONS[0]),
    ],
    indirect=["gunicorn"],
)
def test_no_class_stays_alive(
    hooks: str, reloads: int, gunicorn: Gunicorn, serve: ServerFactory, tmp_path: Path
) -> None:
    """After some HUPs the current class is alive, and the first one, which gunicorn keeps."""
    counted = tmp_path / "counted"
    config = f"{hooks}COUNTED = {str(counted)!r}\n{OWN_CLASS}"
    server = serve(gunicorn, workers=1, config=config, environ=INTERVAL).wait_until_it_serves()
    for _ in range(reloads):
        reload(server)
    counted.unlink()  # each HUP also called the hook, before the former worker ended
    server.signal(signal.SIGTTIN)
    wait_for("the count", lambda: counted.exists() and counted.read_text())
    assert counted.read_text() == f"2 of {reloads + 1}"
