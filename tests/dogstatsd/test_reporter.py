"""Tests of the reporter's log lines about the Agent."""

from __future__ import annotations

import logging
import socket
from contextlib import suppress
from pathlib import Path

import pytest
from agent import StandInAgent

from gunicorn_backlog.config.agent_address import Address, parse
from gunicorn_backlog.config.settings import Settings
from gunicorn_backlog.dogstatsd.reporter import BACK_AFTER, Reporter
from gunicorn_backlog.log import OnceLogger
from gunicorn_backlog.sampling.window import IntervalSummary
from tests.lab.waiting import wait_for

INTERVAL = IntervalSummary((), {}, None, 0)
BIND = "127.0.0.1:8000"


def texts(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the beginning of each text after ``does not``."""
    return [record.getMessage().partition(" does not ")[2][:20] for record in caplog.records]


def test_a_slow_agent_causes_one_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A queue that is full several times causes one line."""
    caplog.set_level(logging.INFO)
    path = str(tmp_path / "agent")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as slow:
        slow.bind(path)
        settings = Settings()._replace(address=Address("unixgram", path=path))
        reporter = Reporter(settings, OnceLogger(logging.getLogger("lab")))
        for _ in range(3):
            for _ in range(500):
                reporter.deliver(INTERVAL, "lab", BIND)
            slow.setblocking(False)
            with suppress(BlockingIOError):
                while slow.recv(65536):
                    pass
        reporter.agent.close()
    assert texts(caplog) == ["read as fast as metr"]


def test_a_slow_agents_warning_ends_with_its_address(tmp_path: Path) -> None:
    """A reload with the same address keeps the warning; another address removes it."""
    logger, former = OnceLogger(logging.getLogger("lab")), None
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as slow:
        slow.bind(str(tmp_path / "slow"))
        for name, expected in (("slow", 1), ("slow", 1), ("other", 0), ("slow", 1)):
            address = Address("unixgram", path=str(tmp_path / name))
            former = Reporter(Settings()._replace(address=address), logger, former=former)
            for _ in range(500 if name == "slow" else 0):
                former.deliver(INTERVAL, "lab", BIND)
            assert len(logger.warnings) == expected
            former.agent.close()


def test_the_warning_of_shared_series_ends_with_its_cause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reload to the Agent's Unix socket removes the warning, and one with a tag of the pod."""
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("DD_ORIGIN_DETECTION_ENABLED", "false")
    logger, former = OnceLogger(logging.getLogger("lab")), None
    udp, unix = Address("udp", "127.0.0.1", 8125), Address("unixgram", path=str(tmp_path / "agent"))
    for address, tags, expected in (
        (udp, (), 1),
        (unix, (), 0),
        (udp, (), 1),
        (udp, ("pod_name:web-1",), 0),
    ):
        settings = Settings()._replace(address=address, tags=tags)
        former = Reporter(settings, logger, former=former)
        assert len(logger.warnings) == expected
        former.agent.close()


def test_one_line_for_an_outage_and_one_for_its_end(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The end of an outage is logged after BACK_AFTER pushes without an error."""
    caplog.set_level(logging.INFO)
    address = Address("unixgram", path=str(tmp_path / "agent"))
    reporter = Reporter(Settings()._replace(address=address), OnceLogger(logging.getLogger("lab")))
    for _ in range(2):
        for _ in range(5):
            reporter.deliver(INTERVAL, "lab", BIND)
        with StandInAgent(address):
            for number in range(BACK_AFTER + 3):
                reporter.deliver(INTERVAL, "lab", BIND)
                assert ("again" in caplog.messages[-1]) == (number + 1 >= BACK_AFTER)
    reporter.agent.close()
    assert len(caplog.records) == 4


def test_points_that_are_too_long_cause_one_line(caplog: pytest.LogCaptureFixture) -> None:
    """One line has number and remedy; only a reload with other tags causes another."""
    tags = tuple(f"k{number}:{'x' * 190}" for number in range(45))
    logger, former = OnceLogger(logging.getLogger("lab")), None
    with StandInAgent() as agent:
        address = parse(agent.url)
        for kept, lines in ((45, 1), (45, 1), (44, 2), (1, 2)):
            settings = Settings()._replace(address=address, inherited_tags=tags[:kept])
            former = Reporter(settings, logger, former=former)
            for _ in range(3):
                former.deliver(INTERVAL, "lab", "")
            assert len(caplog.messages) == lines
            former.agent.close()
        wait_for("pushes", lambda: len(agent.datagrams) == 3)
    assert "1 of 1 metrics are not sent: " in caplog.messages[0]
    assert "DD_TAGS" in caplog.messages[0]
    assert logger.warnings == ()
