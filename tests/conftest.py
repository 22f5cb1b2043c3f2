"""Fixtures: supported gunicorns, servers, and a stand-in Agent that receives their pushes."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from pathlib import Path
from socket import SOCK_DGRAM

import pytest
from agent import StandInAgent
from hypothesis import settings

from gunicorn_backlog.config.agent_address import Address
from tests.lab.gunicorn_versions import VERSIONS, Gunicorn, install
from tests.lab.ports import free_port
from tests.lab.server import Server

ServerFactory = Callable[..., Server]
AgentFactory = Callable[..., StandInAgent]
SERVERS = pytest.StashKey[list[Server]]()
LOG_SHOWN = 4000  # characters


def pytest_configure(config: pytest.Config) -> None:
    """Turn off hypothesis's time limit, and keep byte code in pytest's cache.

    On a busy machine a call of microseconds took 0.29 s, above the limit. The cache is also that of
    processes that tests start.

    Where Python is told to write none, compiling takes 3.6 of the 6.3 s of a collection, and 0.1
    of the 0.4 s of a server's start.
    """
    settings.register_profile("any speed", settings.default, deadline=None)
    settings.load_profile("any speed")
    sys.dont_write_bytecode = False
    sys.pycache_prefix = str(config.cache.mkdir("pycache"))
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.environ["PYTHONPYCACHEPREFIX"] = sys.pycache_prefix


@pytest.fixture(scope="session", autouse=True)
def byte_code_of_temporary_files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Remove at the end the byte code of what tests wrote: nothing else would."""
    yield
    shutil.rmtree(f"{sys.pycache_prefix}{tmp_path_factory.getbasetemp()}", ignore_errors=True)


@pytest.fixture(scope="session")
def installed(request: pytest.FixtureRequest) -> Callable[[str], Gunicorn]:
    """Install a version of gunicorn once, into pytest's cache."""
    folder = Path(request.config.cache.mkdir("gunicorns"))
    return lambda version: install(version, folder)


@pytest.fixture(params=VERSIONS)
def gunicorn(request: pytest.FixtureRequest, installed: Callable[[str], Gunicorn]) -> Gunicorn:
    """Each gunicorn that we support: the oldest and the newest."""
    return installed(request.param)


@pytest.fixture
def newest(installed: Callable[[str], Gunicorn]) -> Gunicorn:
    """The newest gunicorn, for tests that do not depend on the version."""
    return installed(VERSIONS[-1])


@pytest.fixture
def listen() -> Iterator[AgentFactory]:
    """Start stand-in Agents, at free UDP ports or given addresses; they stop after all servers.

    A server that outlives its Agent would push to an address that another test may reuse.
    """
    with ExitStack() as stack:

        def start(address: Address | None = None) -> StandInAgent:
            if address is None:
                address = Address("udp", host="127.0.0.1", port=free_port(SOCK_DGRAM))
            return stack.enter_context(StandInAgent(address))

        yield start


@pytest.fixture
def agent(listen: AgentFactory) -> StandInAgent:
    """A stand-in Agent at a free UDP port."""
    return listen()


@pytest.fixture
def serve(
    request: pytest.FixtureRequest, tmp_path: Path, listen: AgentFactory
) -> Iterator[ServerFactory]:
    """Start servers; all their processes end before any Agent."""
    servers = request.node.stash.setdefault(SERVERS, [])
    with ExitStack() as stack:

        def start(gunicorn: Gunicorn, **options: object) -> Server:
            server = Server(gunicorn, tmp_path, **options)  # type: ignore[arg-type]  # passed on
            servers.append(stack.enter_context(server))
            return server

        yield start


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the end of each server's log with a failed test."""
    report = yield
    if report.failed:
        for server in item.stash.get(SERVERS, []):
            report.sections.append((f"gunicorn at {server.address}", server.log[-LOG_SHOWN:]))
    return report


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A server's certificate and key, in one file."""
    import trustme

    path = tmp_path_factory.mktemp("tls") / "server.pem"
    trustme.CA().issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(path)
    return path


def pytest_sessionfinish(session: pytest.Session) -> None:
    """In CI fail the session if a test of ours was skipped: CI installs all tools."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("CI") and reporter is not None and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
