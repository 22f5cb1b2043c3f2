"""Our lines go to gunicorn's logger, and our thread never runs a user's logging code."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from agent import StandInAgent

from tests.conftest import ServerFactory
from tests.lab.gunicorn_versions import VERSIONS, Gunicorn
from tests.lab.heartbeats import wait_with_heartbeats
from tests.lab.nightly import NEWEST_BY_DAY, nightly
from tests.lab.pushes import next_pushes, pushes, wait_until_all_are_idle
from tests.lab.server import CONFIG, Server
from tests.lab.waiting import wait_for

FOREIGN = """
import json, os, threading, time

class JSONLogger:
    def __init__(self, cfg):
        self.cfg = cfg
    def setup(self, cfg):
        self.cfg = cfg
    def _write(self, level, message, args):
        thread = threading.current_thread()
        line = {"level": level, "message": message % args if args else message,
                "main": thread is threading.main_thread(), "pid": os.getpid()}
        os.write(1, (json.dumps(line) + "\\n").encode())
    def critical(self, message, *args, **options):
        self._write("critical", message, args)
    def error(self, message, *args, **options):
        self._write("error", message, args)
    def warning(self, message, *args, **options):
        self._write("warning", message, args)
    def info(self, message, *args, **options):
        self._write("info", message, args)
    def debug(self, message, *args, **options):
        pass
    exception = error
    def log(self, level, message, *args, **options):
        self._write(level, message, args)
    def access(self, *args):
        pass
    def reopen_files(self):
        pass
    def close_on_exec(self):
        pass

logger_class = JSONLogger
"""
SLOW = FOREIGN.replace(
    "        thread = ",
    "        if message.startswith(('Hang up', 'gunicorn_backlog')):\n"
    "            time.sleep(1.5)\n"
    "        thread = ",
)
INTERVAL = {"GUNICORN_BACKLOG_INTERVAL": "0.1", "GUNICORN_BACKLOG_SAMPLES": "2"}


def ours(server: Server) -> list[dict[str, Any]]:
    """Return our lines, parsed from JSON."""
    lines = [line for line in server.log.splitlines() if "gunicorn_backlog: " in line]
    return [json.loads(line) for line in lines]


def test_a_logger_class_that_is_not_gunicorns(
    gunicorn: Gunicorn, serve: ServerFactory, agent: StandInAgent
) -> None:
    """Lines of the start and of the thread use the class, in the arbiter's main thread."""
    config = CONFIG + FOREIGN + "def post_worker_init(worker):\n    pass\n"
    environ = INTERVAL | {"GUNICORN_BACKLOG_URL": agent.url}
    server = serve(gunicorn, workers=1, config=config, environ=environ)
    server.wait_until_it_serves()

    wait_with_heartbeats(server, "the thread's line", lambda: len(ours(server)) == 2)
    start, warning = ours(server)
    assert (start["level"], warning["level"]) == ("info", "warning")
    assert "1 sync worker," in start["message"]
    assert "post_worker_init" in warning["message"]
    assert all(line["main"] and line["pid"] == server.pid for line in (start, warning))


@NEWEST_BY_DAY
def test_lines_of_a_worker(gunicorn: Gunicorn, serve: ServerFactory) -> None:
    """A worker without a monitor logs its warning with the same logger class."""
    config = CONFIG + FOREIGN + "def when_ready(server):\n    pass\n"
    server = serve(gunicorn, workers=1, config=config).wait_until_it_serves()

    (line,) = wait_for("the warning", lambda: ours(server))
    assert line["level"] == "warning"
    assert line["pid"] in server.worker_pids()


def test_a_logger_that_blocks_delays_no_push(
    newest: Gunicorn, serve: ServerFactory, agent: StandInAgent
) -> None:
    """Our lines and one of gunicorn's take 1.5 s each, and pushes continue every 0.1 s."""
    environ = INTERVAL | {"GUNICORN_BACKLOG_URL": agent.url}
    server = serve(newest, workers=1, config=CONFIG + SLOW, environ=environ)
    wait_until_all_are_idle(agent, workers=1)
    seen = len(pushes(agent))
    server.reload(CONFIG + SLOW + "raw_env = ['GUNICORN_BACKLOG_INTERVAL=0.2']\n")
    wait_for("the second startup line", lambda: len(ours(server)) == 2)
    next_pushes(agent, 3)
    received = pushes(agent)[seen:]
    server.process.terminate()
    assert server.process.wait(timeout=60) == 0

    gaps_s = [late.at_s - early.at_s for early, late in pairwise(received)]
    assert max(gaps_s) < 1.4


@NEWEST_BY_DAY
def test_gunicorns_statsd_logger_counts_none_of_our_lines(
    gunicorn: Gunicorn, serve: ServerFactory, agent: StandInAgent
) -> None:
    """The statsd logger sends a metric for each warning, and may wait for the Agent."""
    host, _, port = agent.url.removeprefix("udp://").rpartition(":")
    arguments = ("--statsd-host", f"{host}:{port}")
    config = CONFIG + "def post_worker_init(worker):\n    pass\n"
    server = serve(gunicorn, workers=1, config=config, environ=INTERVAL, arguments=arguments)
    server.wait_until_it_serves()
    wait_with_heartbeats(server, "our warning", lambda: server.our_lines)
    next_pushes(agent, 2)

    names = {line.name for datagram in agent.datagrams for line in datagram.lines}
    assert "gunicorn.log.warning" not in names
    assert "gunicorn.workers" in names


@pytest.mark.parametrize(
    ("how", "gunicorn"),
    [
        ("subclass", VERSIONS[0]),
        ("logconfig", VERSIONS[-1]),
        nightly("subclass", VERSIONS[-1]),
        nightly("logconfig", VERSIONS[0]),
    ],
    indirect=["gunicorn"],
)
def test_user_handlers_run_in_the_main_thread(
    how: str, gunicorn: Gunicorn, serve: ServerFactory
) -> None:
    """A subclass of gunicorn's logger and a configured handler run in the main thread only."""
    config = CONFIG + (
        "import logging, os, threading\n"
        "class Handler(logging.Handler):\n"
        "    def emit(self, record):\n"
        "        main = threading.current_thread() is threading.main_thread()\n"
        "        os.write(1, f'{main} {record.getMessage()}\\n'.encode())\n"
    )
    if how == "subclass":
        config += (
            "from gunicorn.glogging import Logger\n"
            "class Own(Logger):\n"
            "    def setup(self, cfg):\n"
            "        self.error_log.handlers = [Handler()]\n"
            "        self.error_log.setLevel(20)\n"
            "        self._access_log_enabled = False\n"
            "logger_class = Own\n"
        )
    else:
        config += (
            "logconfig_dict = {'version': 1, 'handlers': {'own': {'()': Handler}},\n"
            "    'root': {'handlers': ['own'], 'level': 'INFO'}, 'loggers': {'gunicorn.error':\n"
            "    {'handlers': ['own'], 'level': 'INFO', 'propagate': False}}}\n"
        )
    environ = INTERVAL | {"GUNICORN_BACKLOG_URL": "unixgram:///nowhere/at/all"}
    server = serve(gunicorn, workers=1, config=config, environ=environ).wait_until_it_serves()

    wait_for("the thread's line", lambda: "does not accept metrics" in server.log)
    assert "True gunicorn_backlog: the Agent at unixgram:///nowhere/at/all" in server.log
    assert "False gunicorn_backlog" not in server.log
