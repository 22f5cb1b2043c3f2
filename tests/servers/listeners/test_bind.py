"""The tag ``bind`` separates the series of servers of one name on one host."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import groupby, pairwise
from pathlib import Path

import pytest
from agent import Line, StandInAgent

from gunicorn_backlog.metrics.catalog import BACKLOG, DROPPED, IN_FLIGHT, IS_RUNNING, LIMIT, SPAWNED
from gunicorn_backlog.metrics.catalog import WORKERS as WORKERS_BY_STATE
from tests.conftest import ServerFactory
from tests.lab.gunicorn_versions import Gunicorn
from tests.lab.ports import free_port
from tests.lab.pushes import next_pushes, pushes
from tests.lab.server import Server
from tests.lab.short_interval import SHORT_CONFIG
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

INTERVAL = {"GUNICORN_BACKLOG_INTERVAL": "0.05", "GUNICORN_BACKLOG_SAMPLES": "2"}
STEADY = 20  # datagrams of two servers
WORKERS = 1  # of each
SERVERS = ("one", "other")
NEEDS_A_BEAT = "gunicorn.workers.timeout_used"  # absent until gunicorn's first heartbeat
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
        former = {server: server.worker_pids() for server in (one, other)}
        for server in former:
            server.reload(config_of(worker_class))
        for server, pids in former.items():
            wait_for("the class", partial(has_new_workers, server, pids))
        check_series(worker_class, one, other, agent)


def config_of(worker_class: WorkerClass) -> str:
    """Return the config of a server with this class."""
    threads = f"threads = {worker_class.threads}\n" if worker_class.threads else ""
    return f"{SHORT_CONFIG}worker_class = {worker_class.name!r}\n{threads}"


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
    for metrics in names.values():
        assert metrics >= {metric.name for metric in OF_ALL_CLASSES}
    assert names["one"] ^ names["other"] <= {NEEDS_A_BEAT}
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


def test_a_hup_that_changes_bind_ends_one_series_and_begins_another(
    gunicorn: Gunicorn, serve: ServerFactory, agent: StandInAgent, tmp_path: Path
) -> None:
    """From a Unix socket to another one, to a TCP port, to two ports: no wrong number between.

    Each push has one ``bind``, and no push repeats a former one. The former listener's series ends,
    and the next one's begins within five pushes.
    """
    ports = [free_port() for _ in range(3)]  # none twice: leaving workers hold their sockets
    paths = [str(tmp_path / f"{name}.sock") for name in ("first", "second")]
    firsts = [*paths, *(f"127.0.0.1:{port}" for port in ports[:2])]
    environ = INTERVAL | {"GUNICORN_BACKLOG_URL": agent.url}
    server = serve(gunicorn, config=bound_to(f"unix:{paths[0]}"), bind=(), environ=environ)
    wait_for("both workers", server.both_worker_pids)
    wait_for(f"bind:{firsts[0]}", partial(is_bound_to, agent, firsts[0]))
    for own in ([f"unix:{paths[1]}"], firsts[2:3], [firsts[3], f"127.0.0.1:{ports[2]}"]):
        server.reload(bound_to(*own))
        wait_for(f"bind:{own[0]}", partial(is_bound_to, agent, own[0].removeprefix("unix:")))
    next_pushes(agent, 3)

    found = pushes(agent)
    in_turn = [binds(push.lines) for push in found]
    assert all(len(values) == 1 for values in in_turn)
    distinct = [values for values, _ in groupby(in_turn)]
    assert distinct == [{first} for first in firsts]
    queues = [push.all("gunicorn.backlog") for push in found]
    assert {value for lines in queues for line in lines for value in line.values} == {0}
    for former, latter in pairwise(firsts):
        ended = max(n for n, lines in enumerate(queues) if former in listeners(lines))
        began = min(n for n, lines in enumerate(queues) if latter in listeners(lines))
        assert 0 <= began - ended <= 5
    assert server.our_lines == []


def bound_to(*addresses: str) -> str:
    """Return a config that binds to these addresses."""
    return f"{SHORT_CONFIG}bind = {list(addresses)}\n"


def is_bound_to(agent: StandInAgent, address: str) -> bool:
    """Return whether the latest push has this ``bind``."""
    found = pushes(agent)
    return bool(found) and binds(found[-1].lines) == {address}


def listeners(found: Iterable[Line]) -> set[str | None]:
    """Return the listeners of these lines."""
    return {line.tag("listener") for line in found}
