"""Apps that answer with the time at which they were called, as ``clock_app``.

With a query of some ms they block the event loop for that time. They spin, since a sleep would
switch greenlets, and note the request.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any

from aiohttp import web
from tornado.web import Application, RequestHandler

from tests.lab.request_log import noted

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment


def called_at(query: str) -> str:
    """Return the time now, CLOCK_MONOTONIC in ns, in 20 digits; after the ms of the query."""
    now_ns = time.monotonic_ns()
    if query:
        with noted():
            while time.monotonic_ns() < now_ns + 1_000_000 * int(query):
                pass
    return f"{now_ns:020d}"


async def asgi(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    """Answer an HTTP request, or the opening of a websocket by a message."""
    if scope["type"] == "lifespan":
        return
    answer = called_at(scope["query_string"].decode())
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
    answer = called_at(environ["QUERY_STRING"])
    start_response("200 OK", [("Content-Length", str(len(answer)))])
    return [answer.encode()]


async def handle(request: web.Request) -> web.StreamResponse:
    """Answer an HTTP request, or the opening of a websocket by a message."""
    answer = called_at(request.query_string)
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
        self.write(called_at(self.request.query))

    post = get


aiohttp = web.Application()
aiohttp.router.add_route("*", "/{path:.*}", handle)
tornado = Application([("/.*", Handler)])
