"""Apps that answer with the time at which they started, CLOCK_MONOTONIC in ns.

``/20`` blocks the event loop for 20 ms then. Spinning: a sleep would switch greenlets.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any

from aiohttp import web
from tornado.web import Application, RequestHandler

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment


def started_ns(path: str) -> str:
    """Return the time now, after the milliseconds in a path."""
    began_ns = time.monotonic_ns()
    until_ns = began_ns + 1_000_000 * int(path.rpartition("/")[2] or 0)
    while time.monotonic_ns() < until_ns:
        pass
    return str(began_ns)


async def asgi(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    """Answer an HTTP request, or the opening of a websocket by a message."""
    if scope["type"] == "lifespan":
        return
    answer = started_ns(scope["path"])
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": answer})
        await send({"type": "websocket.close"})
        return
    headers = [(b"content-length", str(len(answer)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": answer.encode()})


def wsgi(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Answer."""
    answer = started_ns(environ["PATH_INFO"])
    start_response("200 OK", [("Content-Length", str(len(answer)))])
    return [answer.encode()]


async def handle(request: web.Request) -> web.StreamResponse:
    """Answer an HTTP request, or the opening of a websocket by a message."""
    answer = started_ns(request.path)
    if request.headers.get("Upgrade") != "websocket":
        return web.Response(text=answer)
    websocket = web.WebSocketResponse()
    await websocket.prepare(request)
    await websocket.send_str(answer)
    await websocket.close()
    return websocket


class Handler(RequestHandler):
    """The app of tornado."""

    def get(self) -> None:
        """Answer."""
        self.write(started_ns(self.request.path))

    post = get


aiohttp = web.Application()
aiohttp.router.add_route("*", "/{path:.*}", handle)
tornado = Application([("/.*", Handler)])
