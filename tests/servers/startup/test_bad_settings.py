"""A bad setting stops gunicorn at its start, with one line that lists the allowed values."""

from __future__ import annotations

import pytest
from agent import StandInAgent

from tests.conftest import ServerFactory
from tests.lab.gunicorn_versions import Gunicorn
from tests.lab.pushes import next_pushes
from tests.lab.server import CONFIG

FORMS = "udp://host:port, unix:///path, unixgram:///path or unixstream:///path"
SECONDS = "a number of seconds from 0.1 to 60"
TAGS = "a list of key:value"
GROUPS = "a list of metric groups: backlog, workers, threads, requests, wait, loop"
NAMES = "enabled, interval, samples, url, tags, backlog_type, metrics"

CONFIGURE = {
    "interval=0": ("interval=0", SECONDS),
    "interval='2'": ("interval='2'", SECONDS),
    "interval=float('nan')": ("interval=nan", SECONDS),
    "samples=101": ("samples=101", "a whole number from 1 to 100"),
    "samples=2.5": ("samples=2.5", "a whole number from 1 to 100"),
    "enabled='no'": ("enabled='no'", "True or False"),
    "intervall=2": ("'intervall'", NAMES),
    "url='http://localhost:8125'": ("url='http://localhost:8125'", FORMS),
    "url='udp://localhost:70000'": ("url='udp://localhost:70000'", FORMS),
    "url='unix://var/run/x'": ("url='unix://var/run/x'", FORMS),
    "tags=['web']": ("'web' is malformed", TAGS),
    "tags='team:web'": ("tags='team:web'", TAGS),
    "tags=['a:b,c:d']": ("'a:b,c:d' is malformed", TAGS),
    "tags=['a:b\\n']": (r"'a:b\n' is malformed", TAGS),
    "backlog_type='counter'": ("backlog_type='counter'", "histogram, distribution, gauge"),
    "metrics=['backlog', 'waits']": ("there is no group 'waits'", GROUPS),
    "metrics='backlog'": ("metrics='backlog'", GROUPS),
}
ENVIRONMENT = {
    "GUNICORN_BACKLOG_INTERVAL=fast": SECONDS,
    "GUNICORN_BACKLOG_INTERVAL=61": SECONDS,
    "GUNICORN_BACKLOG_SAMPLES=0": "a whole number from 1 to 100",
    "GUNICORN_BACKLOG_SAMPLES=1_0": "a whole number from 1 to 100",
    "GUNICORN_BACKLOG_INTERVAL=1_0": SECONDS,
    "GUNICORN_BACKLOG_ENABLED=perhaps": "True or False",
    "GUNICORN_BACKLOG_URL=localhost:8125": FORMS,
    "GUNICORN_BACKLOG_URL=udp://:8125": FORMS,
    "GUNICORN_BACKLOG_TAGS=web": TAGS,
    "GUNICORN_BACKLOG_TYPE=counter": "histogram, distribution, gauge",
    "GUNICORN_BACKLOG_METRICS=backlog,waits": GROUPS,
}


@pytest.mark.parametrize("call", CONFIGURE)
def test_configure(call: str, newest: Gunicorn, serve: ServerFactory) -> None:
    """A bad value or name in configure() is one line."""
    wrong, allowed = CONFIGURE[call]
    config = f"{CONFIG}from gunicorn_backlog import configure\nconfigure({call})\n"
    server = serve(newest, config=config)

    assert server.process.wait(timeout=20) == 1
    (line,) = server.log.splitlines()
    assert line.startswith("gunicorn_backlog: ")
    assert wrong in line
    assert allowed in line


@pytest.mark.parametrize("setting", ENVIRONMENT)
def test_environment(setting: str, newest: Gunicorn, serve: ServerFactory) -> None:
    """A bad value in the environment is one line, with the hooks' module as the config."""
    variable, _, value = setting.partition("=")
    server = serve(
        newest,
        config=None,
        arguments=("--config", "python:gunicorn_backlog.hooks"),
        environ={variable: value},
    )

    assert server.process.wait(timeout=20) == 1
    (line,) = server.log.splitlines()
    assert line.startswith("gunicorn_backlog: ")
    assert variable in line
    assert ENVIRONMENT[setting] in line


@pytest.mark.parametrize("way", ["configure", "environment", "raw_env"])
def test_on_every_gunicorn(way: str, gunicorn: Gunicorn, serve: ServerFactory) -> None:
    """Each source on each gunicorn is one line, including variables that the config sets."""
    config, environ = CONFIG, {}
    if way == "configure":
        config += "from gunicorn_backlog import configure\nconfigure(samples=0)\n"
    elif way == "raw_env":
        config += "raw_env = ['GUNICORN_BACKLOG_SAMPLES=0']\n"
    else:
        environ["GUNICORN_BACKLOG_SAMPLES"] = "0"
    server = serve(gunicorn, config=config, environ=environ)

    assert server.process.wait(timeout=20) == 1
    ours = [line for line in server.log.splitlines() if "gunicorn_backlog" in line]
    assert len(ours) == 1
    assert "a whole number from 1 to 100" in ours[0]
    assert "Traceback" not in server.log


@pytest.mark.parametrize("service", ["", "DEMO_"])
def test_variables_of_a_kubernetes_service_are_no_settings(
    service: str, newest: Gunicorn, serve: ServerFactory
) -> None:
    """A service named gunicorn-backlog sets variables with our prefix in each pod: no line."""
    link = f"GUNICORN_BACKLOG_{service}"
    environ = {
        f"{link}SERVICE_HOST": "10.0.0.1",
        f"{link}SERVICE_PORT": "80",
        f"{link}SERVICE_PORT_HTTP": "80",
        f"{link}PORT": "tcp://10.0.0.1:80",
        f"{link}PORT_80_TCP": "tcp://10.0.0.1:80",
        f"{link}PORT_80_TCP_ADDR": "10.0.0.1",
        f"{link}PORT_80_TCP_PORT": "80",
        f"{link}PORT_80_TCP_PROTO": "tcp",
    }
    server = serve(newest, environ=environ).wait_until_it_serves()

    assert server.our_lines == []


@pytest.mark.parametrize("way", ["environment", "raw_env"])
def test_an_unknown_variable_is_logged_once(
    way: str, gunicorn: Gunicorn, serve: ServerFactory, agent: StandInAgent
) -> None:
    """The server starts, pushes, and logs one warning that lists all settings."""
    config, environ = CONFIG, {"GUNICORN_BACKLOG_URL": agent.url}
    if way == "raw_env":
        config += "raw_env = ['GUNICORN_BACKLOG_INTERVALL=1']\n"
    else:
        environ["GUNICORN_BACKLOG_INTERVALL"] = "1"
    server = serve(gunicorn, config=config, environ=environ).wait_until_it_serves()
    next_pushes(agent, 1)
    server.reload()
    next_pushes(agent, 3)

    (line,) = [line for line in server.log.splitlines() if "INTERVALL" in line]
    assert "[WARNING] gunicorn_backlog: there is no setting GUNICORN_BACKLOG_INTERVALL (" in line
    assert "GUNICORN_BACKLOG_INTERVAL, " in line
    assert line.endswith("; ignored")
