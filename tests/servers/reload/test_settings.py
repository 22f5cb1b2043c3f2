"""HUP, TTIN and USR2: new settings, one thread per arbiter, no push twice."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from agent import StandInAgent

from tests.conftest import ServerFactory
from tests.lab.gunicorn_versions import Gunicorn
from tests.lab.procfs import our_threads
from tests.lab.pushes import next_pushes, pushes, wait_until_all_are_idle
from tests.lab.server import CONFIG
from tests.lab.waiting import wait_for


def configured(text: str) -> str:
    """Return a config with these arguments of configure()."""
    return f"{CONFIG}from gunicorn_backlog import configure\nconfigure({text})\n"


def last_tags(agent: StandInAgent) -> set[str]:
    """Return the tags of the worker metric in the latest push."""
    return set(pushes(agent)[-1].all("gunicorn.workers")[0].tags)


def test_hup_reads_all_settings_again(
    gunicorn: Gunicorn, serve: ServerFactory, agent: StandInAgent
) -> None:
    """New settings are in force, and an absent setting has its default."""
    first = f"url={agent.url!r}, interval=0.6, samples=4, tags=['color:red']"
    server = serve(gunicorn, config=configured(first)).wait_until_it_serves()
    (push,) = next_pushes(agent, 1)
    assert push.values("gunicorn.backlog", "color:red") == (0,) * 4

    second = f"url={agent.url!r}, interval=1.5, tags=['color:blue']"
    server.reload(configured(second))
    wait_for("the new tags", lambda: "color:blue" in last_tags(agent))
    (push,) = next_pushes(agent, 1)
    assert push.values("gunicorn.backlog", "color:blue") == (0,) * 10

    server.reload(CONFIG + f"raw_env = ['GUNICORN_BACKLOG_URL={agent.url}']\n")
    wait_for("no tags", lambda: not any("color" in tag for tag in last_tags(agent)))
    (push,) = next_pushes(agent, 1)
    assert push.workers == {"idle": 2, "working": 0, "starting": 0}
    assert "Traceback" not in server.log


@pytest.mark.parametrize("way", ["imported by the file", "python:module"])
def test_settings_of_a_module_survive_a_hup(
    way: str, gunicorn: Gunicorn, serve: ServerFactory, agent: StandInAgent, tmp_path: Path
) -> None:
    """gunicorn runs a config file at each HUP, but a module only once."""
    (tmp_path / "mybase.py").write_text(configured(f"url={agent.url!r}, tags=['team:web']"))
    environ = {"GUNICORN_BACKLOG_INTERVAL": "0.2", "PYTHONPATH": python_path(gunicorn, tmp_path)}
    config, arguments = "from mybase import *\n", ()
    if way == "python:module":
        server = serve(
            gunicorn, config=None, arguments=("--config", "python:mybase"), environ=environ
        )
    else:
        server = serve(gunicorn, config=config, arguments=arguments, environ=environ)
    before = wait_for("both workers", server.both_worker_pids)
    next_pushes(agent, 1)

    for _ in range(2):
        server.reload()
        wait_for("new workers", lambda: server.worker_pids().isdisjoint(before))  # noqa: B023
        (push,) = next_pushes(agent, 1)
        assert push.all("gunicorn.workers", "team:web")
        before = wait_for("both workers", server.both_worker_pids)


def python_path(gunicorn: Gunicorn, folder: Path) -> str:
    """Return gunicorn's PYTHONPATH with one more folder."""
    return f"{folder}:{gunicorn.environ()['PYTHONPATH']}"


def test_raw_env_is_in_force_after_each_hup(
    gunicorn: Gunicorn, serve: ServerFactory, agent: StandInAgent
) -> None:
    """gunicorn sets raw_env some time after the config: no settings are loaded in between."""
    config = f"{CONFIG}raw_env = ['GUNICORN_BACKLOG_URL={agent.url}']\n"
    environ = {"GUNICORN_BACKLOG_INTERVAL": "0.1", "GUNICORN_BACKLOG_SAMPLES": "100"}
    arguments = ("--log-level", "debug")  # lengthens the time in between
    server = serve(gunicorn, config=config, environ=environ, arguments=arguments)
    before = wait_for("both workers", server.both_worker_pids)
    for _ in range(5):
        server.reload()
        wait_for("new workers", lambda: server.worker_pids().isdisjoint(before))  # noqa: B023
        before = wait_for("both workers", server.both_worker_pids)
        next_pushes(agent, 1)


def test_a_bad_setting_on_hup_leaves_the_former_in_force(
    gunicorn: Gunicorn, serve: ServerFactory, agent: StandInAgent
) -> None:
    """A bad setting does not stop a serving gunicorn: one line reports the error."""
    good = f"url={agent.url!r}, interval=0.5, samples=3"
    server = serve(gunicorn, config=configured(good)).wait_until_it_serves()
    before = server.worker_pids()

    server.reload(configured("interval=1000"))
    wait_for("the line", lambda: "the former settings stay in force" in server.log)
    wait_for("new workers", lambda: server.worker_pids().isdisjoint(before))

    assert next_pushes(agent, 1)[0].values("gunicorn.backlog") == (0,) * 3
    assert server.get()
    assert server.log.count("gunicorn_backlog: interval=1000") == 1


def test_hup_turns_it_off_and_on(
    gunicorn: Gunicorn, serve: ServerFactory, agent: StandInAgent
) -> None:
    """A HUP that enables starts the pushes of a disabled server, and another HUP ends them."""
    on = configured(f"url={agent.url!r}, interval=0.2")
    off = configured(f"url={agent.url!r}, interval=0.2, enabled=False")
    server = serve(gunicorn, config=off).wait_until_it_serves()
    assert our_threads(server.pid) == []

    for _ in range(2):
        assert agent.datagrams == []
        server.reload(on)
        wait_until_all_are_idle(agent)
        spawned = [push.values("gunicorn.workers.spawned")[0] for push in pushes(agent)]
        assert sum(spawned) == 2
        assert not any(push.workers.get("starting", 0) > 2 for push in pushes(agent))

        server.reload(off)
        wait_for("the thread to end", lambda: not our_threads(server.pid))
        agent.datagrams.clear()  # without a thread there is no push


def test_more_and_fewer_workers(
    gunicorn: Gunicorn, serve: ServerFactory, agent: StandInAgent
) -> None:
    """TTIN adds a worker to the metrics, and TTOU removes one."""
    environ = {"GUNICORN_BACKLOG_URL": agent.url, "GUNICORN_BACKLOG_INTERVAL": "0.2"}
    server = serve(gunicorn, environ=environ).wait_until_it_serves()

    for number, workers in ((signal.SIGTTIN, 3), (signal.SIGTTOU, 2)):
        server.signal(number)
        wait_for(
            f"{workers} workers",
            lambda workers=workers: next_pushes(agent, 1)[0].workers["idle"] == workers,  # type: ignore[misc]
        )


def test_usr2_makes_two_arbiters_with_own_tags(
    gunicorn: Gunicorn, serve: ServerFactory, agent: StandInAgent
) -> None:
    """During an upgrade both arbiters push, each with its own app tag; then only the new one."""
    environ = {"GUNICORN_BACKLOG_URL": agent.url, "GUNICORN_BACKLOG_INTERVAL": "0.2"}
    server = serve(gunicorn, environ=environ).wait_until_it_serves()
    wait_for("both workers", server.both_worker_pids)

    server.signal(signal.SIGUSR2)
    wait_for("the new arbiter", lambda: "app:lab.2" in apps(agent))
    server.signal(signal.SIGTERM)
    server.process.wait(timeout=20)
    wait_for("the promotion", lambda: set(apps(agent, last=5)) == {"app:lab"})

    (push,) = next_pushes(agent, 1)
    assert push.workers == {"idle": 2, "working": 0, "starting": 0}
    assert server.get()


def apps(agent: StandInAgent, last: int = 1000) -> list[str]:
    """Return the app tags of the last pushes."""
    lines = [line for datagram in agent.datagrams for line in datagram.lines]
    checks = [line for line in lines if line.name == "gunicorn.is_running"]
    return [f"app:{line.tag('app')}" for line in checks[-last:]]
