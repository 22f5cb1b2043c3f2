"""Apps whose worker exits on request, for WSGI and ASGI."""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment


def act(path: str) -> bytes:
    """Exit, send the worker a signal, or block, by the path; by default return its pid.

    ``/exit/7``: exit at once with that code. ``/signal/11``: that signal. ``/block/27``: so many
    seconds. ``/eat``: use memory without end.
    """
    _, name, number, *_ = f"{path}//".split("/")
    if name == "exit":
        os._exit(int(number))
    elif name == "signal":
        os.kill(os.getpid(), int(number))
    elif name == "block":
        time.sleep(float(number))
    elif name == "eat":
        eaten = []
        while True:
            eaten.append(b"x" * (1 << 24))
    return str(os.getpid()).encode()


def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Act, and answer."""
    body = act(environ["PATH_INFO"])
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


async def asgi_app(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    """Act in the event loop, and answer; no lifespan."""
    if scope["type"] != "http":
        raise ValueError(scope["type"])
    body = act(scope["path"])
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
