"""The ``datadog`` client logs nothing about bad variables when we import and use it."""

from __future__ import annotations

import pytest
from agent import StandInAgent

from tests.conftest import ServerFactory
from tests.lab.gunicorn_versions import VERSIONS, Gunicorn
from tests.lab.nightly import NEWEST_BY_DAY, nightly
from tests.lab.pushes import next_pushes
from tests.lab.reloading import reload_and_wait
from tests.lab.server import CONFIG

# The variables of each case. Only a variable of the telemetry is none that we read.
BAD: dict[str, dict[str, str]] = {
    "a scheme that is none": {"DD_DOGSTATSD_URL": "http://127.0.0.1:8125"},
    "a URL that is none": {"DD_DOGSTATSD_URL": "udp://[::1:8125"},
    "a port that is none": {"DD_DOGSTATSD_URL": "udp://127.0.0.1:port"},
    "a variable for the port": {"DD_DOGSTATSD_PORT": "port"},
    "a telemetry port": {"DD_TELEMETRY_HOST": "127.0.0.1", "DD_TELEMETRY_PORT": "port"},
}
# At this level all that a quieter logger prints is printed, and more.
CONFIG_AT_DEBUG = f"""
import logging; logging.basicConfig(level=logging.DEBUG)
{CONFIG}
logger_class = 'gunicorn.glogging.Logger'
statsd_host = """


# In the oldest gunicorn, which has the oldest client, most of them at night.
CASES = [
    *((bad, VERSIONS[-1]) for bad in BAD),
    *(
        (bad, VERSIONS[0]) if bad == "a telemetry port" else nightly(bad, VERSIONS[0])
        for bad in BAD
    ),
]


@pytest.mark.parametrize(("bad", "gunicorn"), CASES, indirect=["gunicorn"])
def test_one_line_and_it_is_ours(
    bad: str, gunicorn: Gunicorn, serve: ServerFactory, agent: StandInAgent
) -> None:
    """A bad variable that we read causes one line of ours; pushes arrive, also after a HUP."""
    config = f"{CONFIG_AT_DEBUG}{agent.url.removeprefix('udp://')!r}\n"
    environ = {"GUNICORN_BACKLOG_INTERVAL": "0.1", **BAD[bad]}
    server = serve(gunicorn, config=config, environ=environ, workers=1).wait_until_it_serves()
    next_pushes(agent, 2)
    reload_and_wait(server)
    next_pushes(agent, 2)

    ours = [line for line in server.log.splitlines() if "gunicorn_backlog" in line]
    ours = [line for line in ours if "[INFO]" not in line]
    variable, value = next(iter(BAD[bad].items()))
    assert len([line for line in ours if "[WARNING]" in line]) == ("TELEMETRY" not in variable)
    assert all(variable in line and value in line and "ignored" in line for line in ours)
    assert "datadog" not in server.log.replace("gunicorn_backlog", "")
    assert "Traceback" not in server.log


@NEWEST_BY_DAY
def test_the_apps_own_client_logs_as_without_us(
    gunicorn: Gunicorn, serve: ServerFactory, agent: StandInAgent
) -> None:
    """A client of the app logs the same lines in workers with our hooks and without."""
    logs = {}
    for config in (CONFIG, ""):
        environ = {"GUNICORN_BACKLOG_URL": agent.url, "DD_DOGSTATSD_PORT": "port"}
        app = "tests.lab.datadog_app:app"
        server = serve(gunicorn, app=app, config=config, environ=environ, workers=1)
        server.wait_until_it_serves()
        logs[config] = [line for line in server.log.splitlines() if "DD_DOGSTATSD_PORT" in line]
    assert sorted(logs[CONFIG]) == sorted(logs[""])
