"""Apps that answer with the wait that they were given, in every place where they can read it.

The answer is JSON, in two parts: the time of the call, the wait in ``environ`` or the scope, the
values of ``waited_ms()`` in places that have it, and in threads that do not. With a query of some
ms the app blocks its thread or loop for that time.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

import anyio.to_thread
from aiohttp import web
from asgiref.sync import async_to_sync, sync_to_async
from tornado.web import Application, RequestHandler

from gunicorn_backlog import waited_ms

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

Send = Callable[[dict[str, Any]], Awaitable[None]]

_running: set[asyncio.Task[None]] = set()


def first_part(given: int | None, query: str) -> dict[str, Any]:
    """Return the time of the call, CLOCK_MONOTONIC in ns, and the given wait; block."""
    part = {"called_ns": time.monotonic_ns(), "given": given, "seen": [waited_ms()]}
    if query:
        signal.sigtimedwait((), int(query) / 1000)  # gevent and eventlet do not replace it
    return part


def in_a_thread(read: Callable[[], int | None]) -> int | None:
    """Return what a function reads in a thread of its own."""
    found: list[int | None] = []
    thread = threading.Thread(target=lambda: found.append(read()))
    thread.start()
    thread.join()
    return found[0]


def encoded(part: dict[str, Any]) -> bytes:
    """Return a part of the answer, without the brackets that the other part has."""
    return json.dumps(part).encode()


def wsgi(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
    """Answer in two parts, of which the second one is made while the body streams."""
    part = first_part(environ.get("gunicorn_backlog.waited_ms"), environ["QUERY_STRING"])
    start_response("200 OK", [("Content-Type", "application/json")])

    def body() -> Iterator[bytes]:
        yield encoded(part)[:-1]
        copied = copy_context()
        seen = [waited_ms(), in_a_thread(lambda: copied.run(waited_ms))]
        yield b", " + encoded({"streamed": seen, "none": [in_a_thread(waited_ms)]})[1:]

    return body()


async def everywhere() -> dict[str, Any]:
    """Return what ``waited_ms()`` is after an await, in tasks and in the threads of pools."""
    await asyncio.sleep(0.001)
    loop = asyncio.get_running_loop()
    seen = [
        waited_ms(),
        await asyncio.create_task(in_a_task()),
        await asyncio.to_thread(waited_ms),
        await anyio.to_thread.run_sync(waited_ms),
        await sync_to_async(waited_ms)(),
        await sync_to_async(async_to_sync(in_a_task))(),
        waited_ms(),
    ]
    return {"streamed": seen, "none": [await loop.run_in_executor(None, waited_ms)]}


async def in_a_task() -> int | None:
    """Return the wait after a switch to other tasks."""
    await asyncio.sleep(0)
    return waited_ms()


async def outlive(given: int | None) -> None:
    """Write the wait of the request, and of this task long after the request, to $SINK."""
    await asyncio.sleep(0.2)
    sink = os.open(os.environ["SINK"], os.O_APPEND | os.O_CREAT | os.O_WRONLY)
    os.write(sink, (json.dumps([given, waited_ms()]) + "\n").encode())
    os.close(sink)


def start_background_task(given: int | None) -> None:
    """Start a task that ends after its request."""
    task = asyncio.create_task(outlive(given))
    _running.add(task)
    task.add_done_callback(_running.discard)


async def asgi(
    scope: dict[str, Any], receive: Callable[[], Awaitable[dict[str, Any]]], send: Send
) -> None:
    """Answer in two parts."""
    if scope["type"] == "lifespan":
        return
    given = scope.get("extensions", {}).get("gunicorn_backlog", {}).get("waited_ms")
    part = first_part(given, scope["query_string"].decode())
    start_background_task(given)
    headers = [(b"content-type", b"application/json"), (b"transfer-encoding", b"chunked")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": encoded(part)[:-1], "more_body": True})
    body = b", " + encoded(await everywhere())[1:]
    await send({"type": "http.response.body", "body": body})


async def handle(request: web.Request) -> web.StreamResponse:
    """Answer; aiohttp has no scope."""
    part = first_part(waited_ms(), request.query_string)
    start_background_task(waited_ms())
    answer = web.StreamResponse(headers={"Content-Type": "application/json"})
    await answer.prepare(request)
    await answer.write(encoded(part)[:-1])
    await answer.write(b", " + encoded(await everywhere())[1:])
    return answer


class Handler(RequestHandler):
    """The app of tornado, which has no scope."""

    async def get(self) -> None:
        """Answer in two parts."""
        part = first_part(waited_ms(), self.request.query)
        start_background_task(waited_ms())
        self.write(encoded(part)[:-1])
        await self.flush()
        self.write(b", " + encoded(await everywhere())[1:])


aiohttp = web.Application()
aiohttp.router.add_route("*", "/{path:.*}", handle)
tornado = Application([("/.*", Handler)])
