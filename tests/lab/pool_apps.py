"""Apps whose requests run in thread pools behind an event loop; each call is in the journal.

Each app answers ``/hold`` when the file $RELEASE exists. $LIMIT sets anyio's default limiter.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.lab.request_log import noted
from tests.lab.wsgi_app import LONGEST_S

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment


def hold() -> str:
    """Return when the file $RELEASE exists; blocks the thread."""
    deadline_s = time.monotonic() + LONGEST_S
    release = Path(os.environ["RELEASE"])
    with noted():
        while not release.exists() and time.monotonic() < deadline_s:
            time.sleep(0.02)
    return "held"


def with_fastapi() -> Any:
    """Return an app of FastAPI with a plain function, which anyio's threads run."""
    import anyio.to_thread
    from fastapi import FastAPI

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> Any:
        if "LIMIT" in os.environ:
            limiter = anyio.to_thread.current_default_thread_limiter()
            limiter.total_tokens = int(os.environ["LIMIT"])
        yield

    app = FastAPI(lifespan=lifespan)
    app.get("/hold")(hold)

    @app.get("/")
    async def ok() -> str:
        return "ok"

    return app


def with_django() -> Any:
    """Return Django's ASGI handler with a synchronous view, for which each request has a thread."""
    import django
    from django.conf import settings
    from django.core.asgi import get_asgi_application
    from django.http import HttpRequest, HttpResponse
    from django.urls import path

    def view(_: HttpRequest) -> HttpResponse:
        return HttpResponse(hold())

    async def ok(_: HttpRequest) -> HttpResponse:
        return HttpResponse("ok")

    urls = type("Urls", (), {"urlpatterns": [path("hold", view), path("", ok)]})
    settings.configure(ROOT_URLCONF=urls, ALLOWED_HOSTS=["*"], SECRET_KEY="test")
    django.setup()
    return get_asgi_application()


async def in_executor(scope: Any, receive: Any, send: Any) -> None:
    """Run each ``/hold`` in the loop's default executor."""
    if scope["type"] == "lifespan":
        return
    body = "ok"
    if scope["path"] == "/hold":
        body = await asyncio.get_running_loop().run_in_executor(None, hold)
    elif scope["path"] == "/to-thread":
        body = await asyncio.to_thread(hold)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body.encode()})


def in_gevent(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Run each ``/hold`` in the thread pool of gevent's hub, with 10 threads."""
    import gevent  # type: ignore[import-untyped]  # has no stubs

    body = "ok"
    if environ["PATH_INFO"] == "/hold":
        body = gevent.get_hub().threadpool.apply(hold)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [body.encode()]
