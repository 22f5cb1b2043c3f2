"""delivery: what the log says of an Agent that comes and goes."""

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
    """Return what was logged, without its beginning."""
    return [record.getMessage().partition(" does not ")[2][:20] for record in caplog.records]


def test_an_agent_that_reads_now_and_then_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its queue is full, has room, is full again: one line, however often."""
    caplog.set_level(logging.INFO)
    path = str(tmp_path / "agent")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as slow:
        slow.bind(path)
        settings = Settings()._replace(address=Address("unixgram", path=path))
        delivery = Reporter(settings, OnceLogger(logging.getLogger("lab")))
        for _ in range(3):
            for _ in range(500):
                delivery.deliver(INTERVAL, "lab", BIND)
            slow.setblocking(False)
            with suppress(BlockingIOError):
                while slow.recv(65536):
                    pass
        delivery.close()
    assert texts(caplog) == ["read as fast as it i"]


def test_one_that_is_slow_is_forgotten_with_its_address(tmp_path: Path) -> None:
    """A reload that leaves the address leaves the warning, too."""
    notices, former = OnceLogger(logging.getLogger("lab")), None
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as slow:
        slow.bind(str(tmp_path / "slow"))
        for name, expected in (("slow", 1), ("slow", 1), ("other", 0), ("slow", 1)):
            address = Address("unixgram", path=str(tmp_path / name))
            former = Reporter(Settings()._replace(address=address), notices, former=former)
            for _ in range(500 if name == "slow" else 0):
                former.deliver(INTERVAL, "lab", BIND)
            assert len(notices.warnings) == expected
            former.close()


def test_one_line_when_it_goes_and_one_when_it_is_back(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Not with the first push that meets no error, but after a few."""
    caplog.set_level(logging.INFO)
    address = Address("unixgram", path=str(tmp_path / "agent"))
    delivery = Reporter(Settings()._replace(address=address), OnceLogger(logging.getLogger("lab")))
    for _ in range(2):
        for _ in range(5):
            delivery.deliver(INTERVAL, "lab", BIND)
        with StandInAgent(address):
            for number in range(BACK_AFTER + 3):
                delivery.deliver(INTERVAL, "lab", BIND)
                assert ("again" in caplog.messages[-1]) == (number + 1 >= BACK_AFTER)
    delivery.close()
    assert len(caplog.records) == 4


def test_points_that_are_too_long_are_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    """How many they are, and the remedy; again only after a reload with other tags."""
    tags = tuple(f"k{number}:{'x' * 190}" for number in range(45))
    notices, former = OnceLogger(logging.getLogger("lab")), None
    with StandInAgent() as agent:
        address = parse(agent.url)
        for kept, told in ((45, 1), (45, 1), (44, 2), (1, 2)):
            settings = Settings()._replace(address=address, inherited_tags=tags[:kept])
            former = Reporter(settings, notices, former=former)
            for _ in range(3):
                former.deliver(INTERVAL, "lab", "")
            assert len(caplog.messages) == told
            former.close()
        wait_for("pushes", lambda: len(agent.datagrams) == 3)
    assert "1 of 1 metrics are not sent: " in caplog.messages[0]
    assert "DD_TAGS" in caplog.messages[0]
    assert notices.warnings == ()
