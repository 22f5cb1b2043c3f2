"""An ASGI app that computes, blocks its event loop, or calls a function in a thread.

``/half/0.05`` computes for 0.05 s and sleeps as long, without a block of the loop. ``/block/2``
sleeps for 2 s in the loop. ``/thread/0.5`` sleeps for 0.5 s in a thread of a pool of four.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

LONGEST_S = 30.0
THREADS = 4

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """Serve the path, then answer."""
    if scope["type"] == "lifespan":
        await _lifespan(receive, send)
        return
    _, kind, *seconds = scope["path"].split("/")
    status, body = 200, b"ok\n"
    try:
        if kind:
            await KINDS[kind](min(float(seconds[0]), LONGEST_S))
    except (KeyError, IndexError, ValueError):
        status, body = 400, b"/half/, /block/ and /thread/ take a number of seconds, 0 or more\n"
    headers = [(b"content-type", b"text/plain")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _lifespan(receive: Receive, send: Send) -> None:
    await receive()
    # The default size depends on the number of processors.
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(THREADS))
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


async def _half(seconds: float) -> None:
    until_s = time.monotonic() + seconds
    while time.monotonic() < until_s:
        await asyncio.sleep(0)
    await asyncio.sleep(seconds)


async def _block(seconds: float) -> None:
    time.sleep(seconds)  # the fault that the demo shows


async def _thread(seconds: float) -> None:
    await asyncio.to_thread(time.sleep, seconds)


KINDS = {"half": _half, "block": _block, "thread": _thread}
