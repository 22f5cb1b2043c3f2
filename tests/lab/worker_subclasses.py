"""A user's subclass of each worker class of gunicorn: ``OwnSyncWorker`` and so on.

Created when gunicorn imports the name, because not every gunicorn has every class.
"""

from __future__ import annotations

import sys
from typing import Any

from gunicorn.util import load_class

BASES = {
    "OwnSyncWorker": "gunicorn.workers.sync.SyncWorker",
    "OwnThreadWorker": "gunicorn.workers.gthread.ThreadWorker",
    "OwnGeventWorker": "gunicorn.workers.ggevent.GeventWorker",
    "OwnPyWSGIWorker": "gunicorn.workers.ggevent.GeventPyWSGIWorker",
    "OwnTornadoWorker": "gunicorn.workers.gtornado.TornadoWorker",
    "OwnASGIWorker": "gunicorn.workers.gasgi.ASGIWorker",
    "OwnUvicornWorker": "uvicorn_worker.UvicornWorker",
    "OwnAiohttpWorker": "aiohttp.worker.GunicornWebWorker",
}
LOOPS = {"AsyncioUvicorn": "asyncio", "UvloopUvicorn": "uvloop"}  # uvicorn's workers
OVERRIDDEN = ("handle", "handle_request", "notify", "enqueue_req", "load_wsgi")


def __getattr__(name: str) -> type:
    if name in LOOPS:
        base = load_class("uvicorn_worker.UvicornWorker")
        return type(name, (base,), {"CONFIG_KWARGS": {"loop": LOOPS[name], "http": "auto"}})
    if name not in BASES:
        raise AttributeError(name)
    base = load_class(BASES[name])
    own = type(
        name,
        (base,),
        {method: _passing_on(base, method) for method in OVERRIDDEN if hasattr(base, method)},
    )
    setattr(sys.modules[__name__], name, own)
    return own


def _passing_on(base: type, name: str) -> Any:
    def method(self: object, *args: Any) -> Any:
        return getattr(base, name)(self, *args)

    return method
