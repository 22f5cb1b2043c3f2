"""Rolling restarts behind nginx with ``drained`` before each stop: no request fails."""

from __future__ import annotations

import http.client
import os
import shutil
import signal
import statistics
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import ServerFactory
from tests.lab.cli_in_process import run_here
from tests.lab.gunicorn_versions import Gunicorn
from tests.lab.nginx import FRAME
from tests.lab.ports import free_port
from tests.lab.process_group import Group
from tests.lab.procfs import children
from tests.lab.server import Server
from tests.lab.short_and_soak import forms
from tests.lab.waiting import wait_for

CLIENTS = 4
# Without a second attempt: nginx would hide a refused connection from the client.
SITE = """
upstream app {{ {servers} }}
server {{
    listen 127.0.0.1:{port};
    location / {{ proxy_pass http://app; proxy_next_upstream off; }}
}}
"""


class Balancer:
    """nginx before several servers. ``tell`` changes the servers, and reloads nginx."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.config = folder / "nginx.conf"
        self.process: Group

    def write(self, servers: Sequence[Server], down: Server | None = None) -> None:
        """Write the config; nginx sends no new request to ``down``."""
        lines = " ".join(
            f"server {server.address}{' down' if server is down else ''};" for server in servers
        )
        user = "user root;" if os.geteuid() == 0 else ""
        site = SITE.format(servers=lines, port=self.port)
        self.config.write_text(FRAME.format(folder=self.config.parent, site=site, user=user))

    def tell(self, servers: Sequence[Server], down: Server | None = None) -> None:
        """Change the servers, and wait until nginx has reloaded: its former processes may go on."""
        former = children(self.process.pid)
        self.write(servers, down)
        self.process.send_signal(signal.SIGHUP)
        wait_for("nginx to reload", lambda: children(self.process.pid) - former)


@contextmanager
def balancer(folder: Path, servers: Sequence[Server]) -> Iterator[Balancer]:
    """Run nginx before the servers."""
    command = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if command is None:
        pytest.skip("nginx is not installed (Debian: nginx-light)")
    found = Balancer(folder)
    found.write(servers)
    with Group([command, "-c", str(found.config)]) as found.process:
        wait_for("nginx", lambda: answer(found.port) == "200")
        yield found


def answer(port: int) -> str:
    """Return the status of one request through nginx, or the error."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", "/last/60")
        response = connection.getresponse()
        return "200" if response.read() == b"ok" else str(response.status)
    except OSError as error:
        return repr(error)
    finally:
        connection.close()


class Load:
    """Clients in threads; ``answers``: the status of each request, or its error."""

    def __init__(self, port: int) -> None:
        self.answers: list[str] = []
        self._stop = threading.Event()
        self._port = port
        self._threads = [threading.Thread(target=self._send) for _ in range(CLIENTS)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _send(self) -> None:
        while not self._stop.is_set():
            self.answers.append(answer(self._port))


@forms("rounds", short=1, long=10)
def test_no_request_fails(
    rounds: int, newest: Gunicorn, serve: ServerFactory, tmp_path: Path
) -> None:
    """Each of three servers is taken out of nginx, drained, stopped and replaced."""
    servers = [serve(newest, workers=1).wait_until_it_serves() for _ in range(3)]
    arguments = ("--quiet", "1") if rounds == 1 else ()
    durations = []
    with balancer(tmp_path, servers) as nginx, Load(nginx.port) as load:
        for _ in range(rounds):
            for number, old in enumerate(servers):
                nginx.tell(servers, down=old)
                began_s = time.monotonic()
                done = run_here("drained", str(old.pid), *arguments)
                durations.append(time.monotonic() - began_s)
                assert done.code == 0, done
                old.signal(signal.SIGTERM)
                old.process.wait(timeout=40)
                servers[number] = serve(newest, workers=1).wait_until_it_serves()
                nginx.tell(servers)
                before = len(load.answers)
                wait_for("requests", lambda: len(load.answers) > before + 20)  # noqa: B023
    median_s = statistics.median(durations)
    failed = [each for each in load.answers if each != "200"]
    print(f"{len(durations)} restarts, {len(load.answers)} requests, failed: {failed}")
    print(f"drained: median {median_s:.1f} s, longest {max(durations):.1f} s")
    assert failed == []
    assert len(load.answers) > 100 * rounds
    assert median_s < 10
