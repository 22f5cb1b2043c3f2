"""The kinds of slots: which instrumentation a worker has, and what follows from it."""

from __future__ import annotations

from enum import IntEnum


class Kind(IntEnum):
    """The instrumentation of a worker.

    UNKNOWN: none, since the class is unknown. FAILED: none, after an error. In both cases the state
    of the worker is not known.
    SYNC: one connection at a time.
    GTHREAD: a pool of threads, with one connection per thread at a time.
    GREENLET: greenlets of gevent or eventlet.
    WSGI: an app in another package's server: gevent's pywsgi or tornado.
    ASGI: an event loop, of gunicorn, uvicorn or aiohttp.
    """

    UNKNOWN = 0
    SYNC = 1
    GTHREAD = 2
    GREENLET = 3
    WSGI = 4
    ASGI = 5
    FAILED = 6


# Plain integers for each sample: in Python 3.11 a look-up of an enumeration's member takes three
# times as long.
SYNC, GTHREAD = int(Kind.SYNC), int(Kind.GTHREAD)

STATE_UNKNOWN = frozenset({Kind.UNKNOWN, Kind.FAILED})
HAS_CAPACITY = frozenset({Kind.SYNC, Kind.GTHREAD})
MULTITHREADED = frozenset({Kind.GTHREAD, Kind.WSGI})  # may be served by threads
HAS_LOOP = frozenset({Kind.GREENLET, Kind.WSGI, Kind.ASGI})
LOOP_KINDS = frozenset(map(int, HAS_LOOP))
MEASURES_WAIT = HAS_CAPACITY | HAS_LOOP  # the wait of requests can be measured
