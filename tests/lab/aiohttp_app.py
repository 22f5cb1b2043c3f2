"""The aiohttp app of the tests: the WSGI app's requests, and websockets with an echo."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

from aiohttp import WSMsgType, web

from tests.lab.request_log import noted
from tests.lab.wsgi_app import FILE, LONGEST_S, PART


async def ok(request: web.Request) -> web.StreamResponse:
    """Answer at once."""
    return web.Response(text="ok")


async def hold(request: web.Request) -> web.StreamResponse:
    """Answer when the file $RELEASE exists."""
    deadline_s = time.monotonic() + LONGEST_S
    release = Path(os.environ["RELEASE"])
    with noted():
        while not release.exists() and time.monotonic() < deadline_s:
            await asyncio.sleep(0.01)
    return web.Response(text=str(os.getpid()))


async def last(request: web.Request) -> web.StreamResponse:
    """Answer after so many milliseconds: ``/last/150``."""
    with noted():
        await asyncio.sleep(int(request.match_info["ms"]) / 1000)
    return web.Response(text="ok")


async def stream(request: web.Request) -> web.StreamResponse:
    """Answer in parts, of unknown length."""
    answer = web.StreamResponse()
    with noted():
        await answer.prepare(request)
        await answer.write(PART)
        await answer.write(PART)
    return answer


async def endless(request: web.Request) -> web.StreamResponse:
    """Answer until the client is gone and a write fails."""
    answer = web.StreamResponse()
    with noted():
        await answer.prepare(request)
        for _ in range(200):
            await answer.write(PART)
            await asyncio.sleep(0.001)
    return answer


async def file(request: web.Request) -> web.StreamResponse:
    """Answer with a file, which aiohttp sends when this function has ended."""
    return web.FileResponse(FILE)


async def fail(request: web.Request) -> web.StreamResponse:
    """Raise."""
    with noted():
        raise RuntimeError("as asked")


async def fail_late(request: web.Request) -> web.StreamResponse:
    """Raise after a part was sent."""
    answer = web.StreamResponse()
    with noted():
        await answer.prepare(request)
        await answer.write(PART)
        raise RuntimeError("as asked")


async def echo(request: web.Request) -> web.StreamResponse:
    """Send every message back."""
    answer = web.WebSocketResponse()
    with noted():
        await answer.prepare(request)
        async for message in answer:
            if message.type is WSMsgType.TEXT:
                await answer.send_str(message.data)
    return answer


app = web.Application()
app.add_routes(
    [
        web.get("/", ok),
        web.get("/hold", hold),
        web.get("/last/{ms}", last),
        web.get("/stream", stream),
        web.get("/endless", endless),
        web.get("/file", file),
        web.get("/fail", fail),
        web.get("/fail-late", fail_late),
        web.get("/websocket", echo),
        web.get("/plain", echo),
    ]
)


async def app_factory() -> web.AppRunner:
    """Return a runner of the app, which aiohttp's worker accepts, too."""
    return web.AppRunner(app)
