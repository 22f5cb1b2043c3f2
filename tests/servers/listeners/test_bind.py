"""The tag ``bind`` separates the series of servers of one name on one host."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest
from agent import Line, StandInAgent

from gunicorn_backlog.metrics.catalog import BACKLOG, DROPPED, IN_FLIGHT, IS_RUNNING, LIMIT, SPAWNED
from gunicorn_backlog.metrics.catalog import WORKERS as WORKERS_BY_STATE
from tests.conftest import ServerFactory
from tests.lab.gunicorn_versions import Gunicorn
from tests.lab.ports import free_port
from tests.lab.push_streams import wait_until_all_came
from tests.lab.pushes import next_pushes, pushes
from tests.lab.server import CONFIG, Server
from tests.lab.waiting import wait_for
from tests.lab.worker_classes import CLASSES, NEWEST, SYNC, WORKERS, WorkerClass
from tests.servers.listeners.test_kinds import SETUPS, Setup, fd, tcp, unix

INTERVAL = {"GUNICORN_BACKLOG_INTERVAL": "0.1", "GUNICORN_BACKLOG_SAMPLES": "4"}
STEADY = 40  # datagrams of two servers
SERVERS = ("one", "other")
OF_ALL_CLASSES = (BACKLOG, LIMIT, DROPPED, WORKERS_BY_STATE, SPAWNED, IN_FLIGHT, IS_RUNNING)
Series = tuple[str, str, frozenset[str]]

CASES = [
    pytest.param(case, version, id=f"{case.name.rpartition('.')[2]}-{case.app[10:14]}-{version}")
    for case in CLASSES
    for version in (("20.1.0", NEWEST) if case is SYNC else case.versions[-1:])
]


def lines(agent: StandInAgent, since: int = 0) -> list[Line]:
    """Return all lines since that datagram."""
    return [line for datagram in agent.datagrams[since:] for line in datagram.lines]


def binds(found: Iterable[Line]) -> set[str | None]:
    """Return the values of ``bind``; None for a line without it."""
    return {line.tag("bind") for line in found}


def working(server: str, agent: StandInAgent) -> set[float]:
    """Return the latest number of this server's busy workers, if all are up."""
    own = [line for line in lines(agent)[-100:] if line.tag("server") == server]
    latest = {line.tag("state"): line.values[0] for line in own if line.name == "gunicorn.workers"}
    return {latest["working"]} if sum(latest.values()) == WORKERS else set()


@pytest.mark.parametrize(("worker_class", "version"), CASES)
def test_two_servers_of_one_name_share_no_series(
    worker_class: WorkerClass,
    version: str,
    installed: Callable[[str], Gunicorn],
    serve: ServerFactory,
    agent: StandInAgent,
) -> None:
    """Two ports, one Agent, one with a request: each series is of one server, and steady.

    An additional tag names the server; the series are compared without that tag.
    """
    one, other = (
        serve(
            installed(version),
            arguments=worker_class.arguments,
            app=worker_class.app,
            environ=INTERVAL
            | {"GUNICORN_BACKLOG_URL": agent.url, "GUNICORN_BACKLOG_TAGS": f"server:{name}"},
        )
        for name in SERVERS
    )
    for name in SERVERS:
        wait_for(f"the workers of {name}", lambda: working(name, agent) == {0})  # noqa: B023
    one.hold(1)
    wait_for("the request", lambda: working("one", agent) == {1})
    seen = len(agent.datagrams) + 4  # datagrams in transit
    wait_for("steady pushes", lambda: len(agent.datagrams) > seen + STEADY)
    found = lines(agent, seen)
    series = {
        name: series_of(line for line in found if line.tag("server") == name) for name in SERVERS
    }
    names = {name: {metric for metric, _, _ in its} for name, its in series.items()}
    assert names["one"] == names["other"] >= {metric.name for metric in OF_ALL_CLASSES}
    assert series["one"].isdisjoint(series["other"])
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


def port_0(_: Path, __: ExitStack) -> Setup:
    """127.0.0.1:0: the real port is in gunicorn's log only."""
    return Setup([], ("127.0.0.1:0",))


def unix_first(folder: Path, _: ExitStack) -> Setup:
    """A Unix socket before a TCP one."""
    path = str(folder / "app.sock")
    return Setup([unix(path)], (f"unix:{path}", f"127.0.0.1:{free_port()}"))


def reuse_port_by_name(_: Path, __: ExitStack) -> Setup:
    """reuse_port at ``localhost``."""
    port = free_port()
    return Setup([tcp(("127.0.0.1", port))], (f"localhost:{port}",), 1, ("--reuse-port",))


def reuse_port_fd(folder: Path, stack: ExitStack) -> Setup:
    """reuse_port at an inherited socket."""
    setup = fd(folder, stack)
    setup.arguments = ("--reuse-port",)
    return setup


def relative(folder: Path, _: ExitStack) -> Setup:
    """A Unix path that is relative to gunicorn's working directory."""
    path = unix(str(folder / "app.sock"))
    return Setup([path], ("unix:app.sock",), arguments=("--chdir", str(folder)))


KINDS = SETUPS | {
    "port 0": port_0,
    "Unix first": unix_first,
    "reuse_port, name": reuse_port_by_name,
    "reuse_port, fd": reuse_port_fd,
    "relative Unix path": relative,
}


@pytest.mark.parametrize("kind", KINDS)
def test_bind_of_each_kind_of_listener(
    kind: str, gunicorn: Gunicorn, serve: ServerFactory, agent: StandInAgent, tmp_path: Path
) -> None:
    """Every line from the first push to the last has the first listener's address."""
    with ExitStack() as stack:
        setup = KINDS[kind](tmp_path, stack)
        server = serve(
            gunicorn,
            workers=setup.workers,
            bind=setup.bind,
            environ=INTERVAL | {"GUNICORN_BACKLOG_URL": agent.url},
            arguments=setup.arguments,
            pass_fds=setup.pass_fds,
            run_by=setup.run_by,
        )
        next_pushes(agent, 2)
        server.signal(signal.SIGTERM)
        server.process.wait()
    wait_until_all_came(agent)
    found = [push for push in pushes(agent) if push.all("gunicorn.is_running")]
    # gunicorn fails before on_exit: it treats an abstract socket's name as a path.
    assert found[-1].values("gunicorn.is_running") == (0 if kind == "Unix abstract" else 2,)
    expected = setup.targets[0].tag if setup.targets else listens_at(server)
    assert binds(line for push in found for line in push.lines) == {expected}


def listens_at(server: Server) -> str:
    """Return the address that gunicorn's log names."""
    (address,) = re.findall(r"Listening at: http://(\S+)", server.log)
    return str(address)


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
            partial(lambda address: binds(pushes(agent)[-1].lines) == {address}, expected),
        )
    in_turn = [binds(push.lines) for push in pushes(agent)]
    assert all(len(values) == 1 for values in in_turn)
    distinct = [
        values
        for number, values in enumerate(in_turn)
        if values != in_turn[number - 1] or not number
    ]
    assert distinct == [{f"127.0.0.1:{port}"} for port in ports[:3]]


def test_both_masters_of_an_upgrade_have_one_bind(
    gunicorn: Gunicorn, serve: ServerFactory, agent: StandInAgent
) -> None:
    """Two masters share the sockets; the tag ``app`` separates them."""
    environ = INTERVAL | {"GUNICORN_BACKLOG_URL": agent.url}
    server = serve(gunicorn, environ=environ).wait_until_it_serves()
    server.signal(signal.SIGUSR2)

    def both() -> bool:
        return {line.tag("app") for line in lines(agent)[-100:]} == {"lab", "lab.2"}

    wait_for("both masters", both)
    assert binds(lines(agent)) == {server.address}
