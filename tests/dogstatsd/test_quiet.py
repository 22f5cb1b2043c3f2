"""Tests of ``quiet``, and of the client's silence about bad variables."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading

import pytest

from gunicorn_backlog.dogstatsd.quiet import quiet


def test_only_this_thread_is_quiet(caplog: pytest.LogCaptureFixture) -> None:
    """This thread's records are dropped inside ``quiet`` only; another thread's records pass."""
    logger = logging.getLogger("lab")
    logger.warning("before")
    with quiet("lab"):
        logger.warning("ours")
        thread = threading.Thread(target=logger.warning, args=["theirs"])
        thread.start()
        thread.join()
    logger.warning("after")
    assert caplog.messages == ["before", "theirs", "after"]


@pytest.mark.parametrize(
    "environ",
    [
        {"DD_DOGSTATSD_URL": "http://agent:8125"},
        {"DD_DOGSTATSD_URL": "udp://[::1:8125"},
        {"DD_DOGSTATSD_URL": "udp://agent:port"},
        {"DD_DOGSTATSD_PORT": "port"},
        {"DD_TELEMETRY_HOST": "agent", "DD_TELEMETRY_PORT": "port"},
    ],
)
def test_the_client_reads_a_bad_variable(environ: dict[str, str]) -> None:
    """Bad variables cause no record of ours at any level; the app's own records pass."""
    program = (
        "import logging, os; logging.basicConfig(level=logging.DEBUG)\n"
        "from gunicorn_backlog.config.agent_address import parse\n"
        "from gunicorn_backlog.dogstatsd.serializer import Serializer\n"
        "from gunicorn_backlog.metrics.points import Point\n"
        "from gunicorn_backlog.config.settings import Settings\n"
        "for url in ('udp://localhost:8125', 'unix:///nowhere'):\n"
        "    serializer = Serializer(Settings()._replace(address=parse(url)))\n"
        "    print(serializer.lines([Point('a', 'gauge', (1,), ())])[0][:7])\n"
        f"assert {set(environ)!r} <= set(os.environ)\n"
        "logging.getLogger('datadog.dogstatsd').warning('the app')\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        env={"PATH": os.environ["PATH"], **environ},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == (
        2 * ("b'a:1|g|c'\n" if "|c" in done.stdout else "b'a:1|g\\n'\n"),
        "WARNING:datadog.dogstatsd:the app\n",
    )
