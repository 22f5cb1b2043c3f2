"""HUP: new settings, and the former after a bad one."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
from agent import StandInAgent

from tests.conftest import ServerFactory
from tests.lab.gunicorn_versions import VERSIONS, Gunicorn
from tests.lab.nightly import nightly
from tests.lab.procfs import our_threads
from tests.lab.push_streams import wait_until_all_came
from tests.lab.pushes import next_pushes, pushes, wait_until_all_are_idle
from tests.lab.server import CONFIG, Server
from tests.lab.waiting import wait_for


def configured(text: str) -> str:
    """Return a config with these arguments of configure()."""
    return f"{CONFIG}from gunicorn_backlog import configure\nconfigure({text})\n"


def last_tags(agent: StandInAgent) -> set[str]:
    """Return the tags of the worker metric in the latest push, if there is one."""
    found = pushes(agent)
    return set(found[-1].all("gunicorn.workers")[0].tags) if found else set()


def test_hup_reads_all_settings_again(
    gunicorn: Gunicorn, serve: ServerFactory, agent: StandInAgent
) -> None:
    """New settings are in force, and an absent setting has its default.

    A HUP that enables starts the pushes of a disabled server, and another HUP ends them, twice. A
    bad setting does not stop a serving gunicorn: one line reports the error, and the former
    settings stay in force.
    """
    off = configured(f"url={agent.url!r}, interval=0.1, enabled=False")
    server = serve(gunicorn, workers=1, config=off).wait_until_it_serves()
    assert our_threads(server.pid) == []
    for number in range(2):
        check_on_and_off(server, agent, "red" if number else "green", off)
    check_new_settings(server, agent)
    check_a_bad_setting(server, agent)
    assert "Traceback" not in server.log


def wait_for_samples(agent: StandInAgent, count: int, *tags: str) -> None:
    """Wait for a push with so many samples: a busy machine loses some, and a HUP adds one."""
    wait_for(
        f"{count} samples",
        lambda: next_pushes(agent, 1)[0].values("gunicorn.backlog", *tags) == (0,) * count,
    )


def check_on_and_off(server: Server, agent: StandInAgent, color: str, off: str) -> None:
    """Enable, and disable again."""
    assert agent.datagrams == []
    server.reload(configured(f"url={agent.url!r}, interval=0.1, samples=4, tags=['color:{color}']"))
    wait_until_all_are_idle(agent, workers=1)
    wait_for_samples(agent, 4, f"color:{color}")
    spawned = [push.values("gunicorn.workers.spawned")[0] for push in pushes(agent)]
    assert sum(spawned) == 1
    assert not any(push.workers.get("starting", 0) > 1 for push in pushes(agent))

    server.reload(off)
    wait_for("its thread to end", lambda: not our_threads(server.pid))
    wait_until_all_came(agent)
    agent.datagrams.clear()  # without a thread there is no push


def check_new_settings(server: Server, agent: StandInAgent) -> None:
    """Load other settings, and then none of ours but the Agent's address."""
    server.reload(configured(f"url={agent.url!r}, interval=0.3, tags=['color:blue']"))
    wait_for("the new tags", lambda: "color:blue" in last_tags(agent))
    wait_for_samples(agent, 10, "color:blue")

    server.reload(CONFIG + f"raw_env = ['GUNICORN_BACKLOG_URL={agent.url}']\n")
    wait_for("no tags", lambda: not any("color" in tag for tag in last_tags(agent)))
    (push,) = next_pushes(agent, 1)
    assert push.workers == {"idle": 1, "working": 0, "starting": 0}


def check_a_bad_setting(server: Server, agent: StandInAgent) -> None:
    """Load a good setting, and then a bad one."""
    server.reload(configured(f"url={agent.url!r}, interval=0.2, samples=3"))
    wait_until_all_are_idle(agent, workers=1)
    wait_for_samples(agent, 3)
    before = server.worker_pids()
    server.reload(configured("interval=1000"))
    wait_for("the line", lambda: "the former settings stay in force" in server.log)
    wait_for("new workers", lambda: server.worker_pids().isdisjoint(before))
    wait_for_samples(agent, 3)
    assert server.get()
    assert server.log.count("gunicorn_backlog: interval=1000") == 1


MODULE = """
from gunicorn_backlog.hooks import *
from gunicorn_backlog import configure
configure(tags=['team:web'])
raw_env = ['GUNICORN_BACKLOG_URL={url}']
"""


@pytest.mark.parametrize(
    ("way", "gunicorn"),
    [
        ("imported by the file", VERSIONS[0]),
        ("python:module", VERSIONS[-1]),
        nightly("imported by the file", VERSIONS[-1]),
        nightly("python:module", VERSIONS[0]),
    ],
    indirect=["gunicorn"],
)
def test_settings_of_a_module_survive_a_hup(
    way: str, gunicorn: Gunicorn, serve: ServerFactory, agent: StandInAgent, tmp_path: Path
) -> None:
    """gunicorn runs a config file at each HUP, but a module only once.

    gunicorn sets raw_env some time after the config: no settings are loaded in between.
    """
    (tmp_path / "mybase.py").write_text(MODULE.format(url=agent.url))
    by_module = ("--config", "python:mybase") if way == "python:module" else ()
    server = serve(
        gunicorn,
        workers=1,
        config=None if by_module else "from mybase import *\n",
        arguments=("--log-level", "debug", *by_module),  # lengthens the time in between
        environ={
            "GUNICORN_BACKLOG_INTERVAL": "0.1",
            "GUNICORN_BACKLOG_SAMPLES": "100",
            "PYTHONPATH": f"{tmp_path}:{gunicorn.environ()['PYTHONPATH']}",
        },
    )
    next_pushes(agent, 1)
    before = server.worker_pids()
    for _ in range(3):
        server.reload()
        wait_for("a new worker", partial(has_new_worker, server, before))
        (push,) = next_pushes(agent, 1)
        assert push.all("gunicorn.workers", "team:web")
        before = server.worker_pids()


def has_new_worker(server: Server, former: set[int]) -> bool:
    """Return whether the only worker was forked after the former one."""
    pids = server.worker_pids()
    return len(pids) == 1 and pids.isdisjoint(former)
