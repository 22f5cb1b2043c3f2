"""The ASGI app of the tests: the WSGI app's requests, and websockets with an echo."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from tests.lab.request_log import noted
from tests.lab.wsgi_app import LONGEST_S, PART

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

HEADERS = [(b"content-type", b"text/plain")]


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Respond by the path; by default with ok."""
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
    elif scope["type"] == "websocket":
        with noted():
            await echo(receive, send)
    else:
        await PATHS.get(scope["path"].split("/")[1], ok)(scope, send)


async def lifespan(receive: Receive, send: Send) -> None:
    """Complete each lifespan event."""
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


async def echo(receive: Receive, send: Send) -> None:
    """Echo every message of the websocket."""
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": message["text"]})


async def respond(send: Send, body: bytes, *, more: bool = False) -> None:
    """Send a complete response, or its first part."""
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": body, "more_body": more})


async def ok(scope: Scope, send: Send) -> None:
    """Respond at once."""
    await respond(send, b"ok")


async def hold(scope: Scope, send: Send) -> None:
    """Respond as soon as the file $RELEASE exists."""
    deadline_s = time.monotonic() + LONGEST_S
    release = Path(os.environ["RELEASE"])
    with noted():
        while not release.exists() and time.monotonic() < deadline_s:
            await asyncio.sleep(0.01)
    await respond(send, str(os.getpid()).encode())


async def last(scope: Scope, send: Send) -> None:
    """Respond after the milliseconds in the path: ``/last/150``."""
    with noted():
        await asyncio.sleep(int(scope["path"].split("/")[2]) / 1000)
    await respond(send, b"ok")


async def stream(scope: Scope, send: Send) -> None:
    """Respond in parts, of unknown length."""
    with noted():
        await respond(send, PART, more=True)
        await send({"type": "http.response.body", "body": PART})


async def endless(scope: Scope, send: Send) -> None:
    """Send parts until the client has disconnected and the request is cancelled."""
    with noted():
        await respond(send, PART, more=True)
        for _ in range(200):
            await send({"type": "http.response.body", "body": PART, "more_body": True})
            await asyncio.sleep(0.001)


async def fail(scope: Scope, send: Send) -> None:
    """Raise before the response."""
    with noted():
        raise RuntimeError("as asked")


async def fail_late(scope: Scope, send: Send) -> None:
    """Raise after the first part of the response."""
    with noted():
        await respond(send, PART, more=True)
        raise RuntimeError("as asked")


PATHS: dict[str, Callable[[Scope, Send], Awaitable[None]]] = {
    "hold": hold,
    "last": last,
    "stream": stream,
    "endless": endless,
    "fail": fail,
    "fail-late": fail_late,
}
