"""Apps that keep their event loop busy for a known share of the time, and report when.

``/duty/KIND/PERCENT/SECONDS`` works for a share of each period, and answers with the times of all
work, in ns of the monotonic clock. ASGI, tornado: KIND is ``callback``, ``task`` or ``storm``, an
endless chain of ``call_soon``. WSGI, with gevent or eventlet: ``spawn``, ``request`` or ``storm``.
``/block/SECONDS`` blocks the loop without using the processor. ``/hog/THREADS/SECONDS`` runs Python
code in threads, and answers with the delays of a timer of the app, in ms. ``/fail`` raises,
``/cancel`` cancels its own task.
"""

from __future__ import annotations

import asyncio
import json
import sys
import threading
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from tornado.web import Application, RequestHandler

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

PERIOD_NS = 100_000_000
Slices = list[tuple[int, int]]  # begin and end of each piece of work


def work(slices: Slices, until_ns: int) -> None:
    """Use the processor until then."""
    begin_ns = time.monotonic_ns()
    while time.monotonic_ns() < until_ns:
        pass
    slices.append((begin_ns, time.monotonic_ns()))


def step(slices: Slices, percent: int) -> float:
    """Work for one period's share; return the rest of the period in seconds."""
    begin_ns = time.monotonic_ns()
    work(slices, begin_ns + PERIOD_NS * percent // 100)
    return max(0, begin_ns + PERIOD_NS - time.monotonic_ns()) / 1e9 if percent < 100 else 0


async def in_tasks(slices: Slices, percent: int, end_ns: int) -> None:
    """Work in a task for each period."""

    async def one_period() -> float:
        return step(slices, percent)

    while time.monotonic_ns() < end_ns:
        await asyncio.sleep(await asyncio.create_task(one_period()))


async def in_callbacks(slices: Slices, percent: int, end_ns: int) -> None:
    """Work in timers' callbacks."""
    loop = asyncio.get_running_loop()
    done = loop.create_future()

    def callback() -> None:
        if time.monotonic_ns() < end_ns:
            loop.call_later(step(slices, percent), callback)
        else:
            done.set_result(None)

    loop.call_soon(callback)
    await done


async def in_a_storm(slices: Slices, percent: int, end_ns: int) -> None:
    """Keep the loop busy with callbacks that do nothing."""
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    begin_ns = time.monotonic_ns()

    def callback() -> None:
        if time.monotonic_ns() < end_ns:
            loop.call_soon(callback)
        else:
            slices.append((begin_ns, time.monotonic_ns()))
            done.set_result(None)

    loop.call_soon(callback)
    await done


async def beside_threads(threads: int, seconds: float) -> list[float]:
    """Return the delays of a timer while threads hold Python's lock."""
    loop, delays = asyncio.get_running_loop(), []
    end_ns = time.monotonic_ns() + int(seconds * 1e9)
    hogs = [threading.Thread(target=work, args=([], end_ns)) for _ in range(threads)]
    for hog in hogs:
        hog.start()
    while time.monotonic_ns() < end_ns:
        due_s = loop.time() + PERIOD_NS / 1e9
        await asyncio.sleep(PERIOD_NS / 1e9)
        delays.append((loop.time() - due_s) * 1000)
    for hog in hogs:
        hog.join()
    return delays


ASYNC = {"task": in_tasks, "callback": in_callbacks, "storm": in_a_storm}


async def run_async(path: str) -> bytes:
    """Do as the path says."""
    match path.split("/")[1:]:
        case ["duty", kind, percent, seconds]:
            slices: Slices = []
            end_ns = time.monotonic_ns() + int(float(seconds) * 1e9)
            await ASYNC[kind](slices, int(percent), end_ns)
            return json.dumps(slices).encode()
        case ["block", seconds]:
            time.sleep(float(seconds))
        case ["hog", threads, seconds]:
            return json.dumps(await beside_threads(int(threads), float(seconds))).encode()
        case ["fail"]:
            raise RuntimeError("as asked")
        case ["cancel"]:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            await asyncio.sleep(1)
    return b"ok"


async def asgi(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Answer as ``run_async``."""
    if scope["type"] != "http":
        raise NotImplementedError  # no lifespan
    body = await run_async(scope["path"])
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class Handler(RequestHandler):
    """Answers as ``run_async``."""

    async def get(self) -> None:
        """Answer."""
        self.write(await run_async(self.request.path))


tornado = Application([("/.*", Handler)])


def spawn(function: Callable[[], object]) -> None:
    """Run a function in a greenlet of its own."""
    if "eventlet" in sys.modules:
        sys.modules["eventlet"].spawn_n(function)
    else:
        sys.modules["gevent"].spawn(function)


def in_greenlets(kind: str, percent: int, seconds: float) -> Slices:
    """Work in the request's greenlet, in spawned ones, or in a storm of switches."""
    slices: Slices = []
    begin_ns = time.monotonic_ns()
    while time.monotonic_ns() < begin_ns + seconds * 1e9:
        if kind == "storm":
            time.sleep(0)
        elif kind == "spawn":
            spawn(lambda: step(slices, percent))
            time.sleep(PERIOD_NS / 1e9 if percent < 100 else 0)
        else:
            time.sleep(step(slices, percent))
    return slices if kind != "storm" else [(begin_ns, time.monotonic_ns())]


def wsgi(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Answer as ``in_greenlets``."""
    body = b"ok"
    match environ["PATH_INFO"].split("/")[1:]:
        case ["duty", kind, percent, seconds]:
            body = json.dumps(in_greenlets(kind, int(percent), float(seconds))).encode()
        case ["block", seconds]:
            end_ns = time.monotonic_ns() + int(float(seconds) * 1e9)
            work([], end_ns)
        case ["fail"]:
            raise RuntimeError("as asked")
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
