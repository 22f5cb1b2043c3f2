"""The tag ``bind`` separates the series of servers of one name on one host."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial

import pytest
from agent import Line, StandInAgent

from gunicorn_backlog.metrics.catalog import BACKLOG, DROPPED, IN_FLIGHT, IS_RUNNING, LIMIT, SPAWNED
from gunicorn_backlog.metrics.catalog import WORKERS as WORKERS_BY_STATE
from tests.conftest import ServerFactory
from tests.lab.gunicorn_versions import Gunicorn
from tests.lab.ports import free_port
from tests.lab.pushes import next_pushes, pushes
from tests.lab.server import CONFIG, Server
from tests.lab.waiting import wait_for
from tests.lab.worker_classes import (
    ASGI,
    CLASSES,
    EVENTLET,
    NEWEST,
    SYNC,
    TORNADO,
    WSGI,
    WorkerClass,
)

INTERVAL = {"GUNICORN_BACKLOG_INTERVAL": "0.1", "GUNICORN_BACKLOG_SAMPLES": "4"}
STEADY = 20  # datagrams of two servers
WORKERS = 1  # of each
SERVERS = ("one", "other")
OF_ALL_CLASSES = (BACKLOG, LIMIT, DROPPED, WORKERS_BY_STATE, SPAWNED, IN_FLIGHT, IS_RUNNING)
Series = tuple[str, str, frozenset[str]]

# Every class in its newest version, and one class in the oldest; servers keep their app over a HUP.
GROUPS = [
    pytest.param("20.1.0", (SYNC,), id="20.1.0"),
    pytest.param(EVENTLET.versions[-1], (EVENTLET,), id="eventlet"),
    *(
        pytest.param(
            NEWEST,
            tuple(each for each in CLASSES if each.app == app and NEWEST in each.versions),
            id=app.partition(":")[0].rpartition(".")[2],
        )
        for app in (WSGI, ASGI, TORNADO)
    ),
]


def lines(agent: StandInAgent, since: int = 0) -> list[Line]:
    """Return all lines since that datagram; of the last ones if negative."""
    return [line for datagram in agent.datagrams[since:] for line in datagram.lines]


def binds(found: Iterable[Line]) -> set[str | None]:
    """Return the values of ``bind``; None for a line without it."""
    return {line.tag("bind") for line in found}


def is_working(server: str, agent: StandInAgent, busy: int) -> bool:
    """Return whether this server's workers are up, and so many of them busy, in the latest push."""
    own = [line for line in lines(agent, -20) if line.tag("server") == server]
    latest = {line.tag("state"): line.values[0] for line in own if line.name == "gunicorn.workers"}
    return latest == {"idle": WORKERS - busy, "working": busy, "starting": 0}


@pytest.mark.parametrize(("version", "classes"), GROUPS)
def test_two_servers_of_one_name_share_no_series(
    version: str,
    classes: Sequence[WorkerClass],
    installed: Callable[[str], Gunicorn],
    serve: ServerFactory,
    agent: StandInAgent,
) -> None:
    """Two ports, one Agent, one with a request: each series is of one server, and steady.

    HUPs take both servers through several worker classes. A tag of the test's own names the
    server; the series are compared without it.
    """
    first, *others = classes
    one, other = (
        serve(
            installed(version),
            workers=WORKERS,
            config=config_of(first),
            app=first.app,
            environ=INTERVAL
            | {"GUNICORN_BACKLOG_URL": agent.url, "GUNICORN_BACKLOG_TAGS": f"server:{name}"},
        )
        for name in SERVERS
    )
    check_series(first, one, other, agent)
    for worker_class in others:
        for server in (one, other):
            former = server.worker_pids()
            server.reload(config_of(worker_class))
            wait_for("the class", partial(has_new_workers, server, former))
        check_series(worker_class, one, other, agent)


def config_of(worker_class: WorkerClass) -> str:
    """Return the config of a server with this class."""
    threads = f"threads = {worker_class.threads}\n" if worker_class.threads else ""
    return f"{CONFIG}worker_class = {worker_class.name!r}\n{threads}"


def has_new_workers(server: Server, former: set[int]) -> bool:
    """Return whether all workers were forked after the former ones, which are gone."""
    pids = server.worker_pids()
    return len(pids) == WORKERS and pids.isdisjoint(former)


def check_series(
    worker_class: WorkerClass, one: Server, other: Server, agent: StandInAgent
) -> None:
    """Hold a request of one server, and check the steady series of both."""
    for name in SERVERS:
        wait_for(f"the workers of {name}, {worker_class}", partial(is_working, name, agent, 0))
    one.hold(1)
    wait_for(f"the request of {worker_class}", partial(is_working, "one", agent, 1))
    seen = len(agent.datagrams) + 4  # datagrams in transit
    wait_for("steady pushes", lambda: len(agent.datagrams) > seen + STEADY)
    found = lines(agent, seen)
    series = {
        name: series_of(line for line in found if line.tag("server") == name) for name in SERVERS
    }
    names = {name: {metric for metric, _, _ in its} for name, its in series.items()}
    assert names["one"] == names["other"] >= {metric.name for metric in OF_ALL_CLASSES}
    assert series["one"].isdisjoint(series["other"]), worker_class
    at_work = [
        line for line in found if "state:working" in line.tags and line.name == "gunicorn.workers"
    ]
    assert {(line.tag("bind"), line.values[0]) for line in at_work} == {
        (one.address, 1),
        (other.address, 0),
    }
    one.let_go()


def series_of(found: Iterable[Line]) -> set[Series]:
    """Return the series of these lines without the test's own tag."""
    return {
        (line.name, line.type, frozenset(tag for tag in line.tags if not tag.startswith("server:")))
        for line in found
    }


def test_a_hup_that_changes_bind_changes_the_tag(
    gunicorn: Gunicorn, serve: ServerFactory, agent: StandInAgent
) -> None:
    """Each push has one value, and no push repeats a former one."""
    ports = [free_port() for _ in range(4)]  # none twice: leaving workers hold their sockets
    environ = INTERVAL | {"GUNICORN_BACKLOG_URL": agent.url}

    def config(*own: int) -> str:
        return f"{CONFIG}bind = {[f'127.0.0.1:{port}' for port in own]}\n"

    server = serve(gunicorn, config=config(ports[0]), bind=(), environ=environ)
    wait_for("both workers", server.both_worker_pids)
    next_pushes(agent, 1)
    for own in (ports[1:2], ports[2:]):
        server.reload(config(*own))
        expected = f"127.0.0.1:{own[0]}"
        wait_for(
            f"bind:{expected}",
            partial(lambda it: binds(pushes(agent)[-1].lines) == {it}, expected),
        )
    in_turn = [binds(push.lines) for push in pushes(agent)]
    assert all(len(values) == 1 for values in in_turn)
    distinct = [
        values
        for number, values in enumerate(in_turn)
        if values != in_turn[number - 1] or not number
    ]
    assert distinct == [{f"127.0.0.1:{port}"} for port in ports[:3]]
