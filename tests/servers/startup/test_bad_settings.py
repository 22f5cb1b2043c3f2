"""A bad setting stops gunicorn at its start, with one line that lists the allowed values."""

from __future__ import annotations

from pathlib import Path

from agent import StandInAgent

from tests.conftest import ServerFactory
from tests.lab.gunicorn_starts import Start, run_starts
from tests.lab.gunicorn_versions import Gunicorn
from tests.lab.nightly import NEWEST_BY_DAY
from tests.lab.pushes import next_pushes, wait_until_all_are_idle
from tests.lab.server import CONFIG
from tests.lab.short_interval import EVERY_20_MS, SHORT_CONFIG
from tests.lab.waiting import wait_for

FORMS = "udp://host:port, unix:///path, unixgram:///path or unixstream:///path"
SECONDS = "a number of seconds from 0.1 to 60"
TAGS = "a list of key:value"
GROUPS = "a list of metric groups: backlog, workers, threads, requests, wait, loop"
NAMES = "enabled, interval, samples, url, tags, backlog_type, metrics, request_wait"

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


def test_configure(newest: Gunicorn, tmp_path: Path) -> None:
    """A bad value or name in configure() is one line."""
    starts = [
        Start(f"{CONFIG}from gunicorn_backlog import configure\nconfigure({call})\n")
        for call in CONFIGURE
    ]
    for call, ended in zip(CONFIGURE, run_starts(newest, tmp_path, starts), strict=True):
        wrong, allowed = CONFIGURE[call]
        assert ended.code == 1, call
        (line,) = ended.lines
        assert line.startswith("gunicorn_backlog: ")
        assert wrong in line
        assert allowed in line


def test_environment(newest: Gunicorn, tmp_path: Path) -> None:
    """A bad value in the environment is one line, with the hooks' module as the config."""
    arguments = ("--config", "python:gunicorn_backlog.hooks")
    pairs = [setting.partition("=")[::2] for setting in ENVIRONMENT]
    starts = [Start(None, arguments, {variable: value}) for variable, value in pairs]
    for setting, ended in zip(ENVIRONMENT, run_starts(newest, tmp_path, starts), strict=True):
        assert ended.code == 1, setting
        (line,) = ended.lines
        assert line.startswith("gunicorn_backlog: ")
        assert setting.partition("=")[0] in line
        assert ENVIRONMENT[setting] in line


def test_on_every_gunicorn(gunicorn: Gunicorn, tmp_path: Path) -> None:
    """Each source on each gunicorn is one line, including variables that the config sets."""
    starts = (
        Start(CONFIG + "from gunicorn_backlog import configure\nconfigure(samples=0)\n"),
        Start(CONFIG + "raw_env = ['GUNICORN_BACKLOG_SAMPLES=0']\n"),
        Start(CONFIG, environ={"GUNICORN_BACKLOG_SAMPLES": "0"}),
    )
    for ended in run_starts(gunicorn, tmp_path, starts):
        assert ended.code == 1
        (ours,) = [line for line in ended.lines if "gunicorn_backlog" in line]
        assert "a whole number from 1 to 100" in ours
        assert "Traceback" not in ended.log


def test_variables_of_a_kubernetes_service_are_no_settings(
    newest: Gunicorn, serve: ServerFactory
) -> None:
    """A service named gunicorn-backlog, or gunicorn-backlog-demo, sets variables with our prefix.

    They are in the environment of each pod, and cause no line.
    """
    environ: dict[str, str] = {}
    for link in ("GUNICORN_BACKLOG_", "GUNICORN_BACKLOG_DEMO_"):
        environ |= {
            f"{link}SERVICE_HOST": "10.0.0.1",
            f"{link}SERVICE_PORT": "80",
            f"{link}SERVICE_PORT_HTTP": "80",
            f"{link}PORT": "tcp://10.0.0.1:80",
            f"{link}PORT_80_TCP": "tcp://10.0.0.1:80",
            f"{link}PORT_80_TCP_ADDR": "10.0.0.1",
            f"{link}PORT_80_TCP_PORT": "80",
            f"{link}PORT_80_TCP_PROTO": "tcp",
        }
    server = serve(newest, workers=1, environ=environ).wait_until_it_serves()

    assert server.our_lines == []


@NEWEST_BY_DAY
def test_unknown_variables_are_logged_once(
    gunicorn: Gunicorn, serve: ServerFactory, agent: StandInAgent
) -> None:
    """The server starts, pushes, and logs one warning that lists all settings.

    Variables of the environment and of raw_env are listed, and a reload logs nothing.
    """
    config = SHORT_CONFIG + "raw_env = ['GUNICORN_BACKLOG_SAMPLESS=1']\n"
    environ = EVERY_20_MS | {"GUNICORN_BACKLOG_URL": agent.url, "GUNICORN_BACKLOG_INTERVALL": "1"}
    server = serve(gunicorn, workers=1, config=config, environ=environ).wait_until_it_serves()
    wait_until_all_are_idle(agent, workers=1)
    former = server.worker_pids()
    server.reload()
    wait_for("a new worker", lambda: server.worker_pids().isdisjoint(former))
    next_pushes(agent, 3)

    (line,) = [line for line in server.log.splitlines() if "INTERVALL" in line]
    unknown = "GUNICORN_BACKLOG_INTERVALL, GUNICORN_BACKLOG_SAMPLESS"
    assert f"[WARNING] gunicorn_backlog: there is no setting {unknown} (" in line
    assert "GUNICORN_BACKLOG_INTERVAL, " in line
    assert line.endswith("; ignored")
