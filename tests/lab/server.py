"""A real gunicorn under test, and real clients of it."""

from __future__ import annotations

import os
import re
import selectors
import signal
import socket
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, cast

from tests.lab.gunicorn_versions import Gunicorn
from tests.lab.ports import free_port
from tests.lab.process_group import Group
from tests.lab.procfs import children, has_own_handlers
from tests.lab.python_files import write_python
from tests.lab.request_log import Journal
from tests.lab.waiting import wait_for

STARTUP = re.compile(r"gunicorn_backlog: [0-9.]+(: .* listening at | is switched off )")
CONFIG = "from gunicorn_backlog.hooks import *\n"


class Server:
    """One gunicorn with its workers, on a free port, in a session of its own.

    :param workers: number of workers on the command line; None: the config sets the number.
    :param config: the text of the config file; None: no config file.
    :param environ: variables on top of a clean environment.
    :param run_by: a command that executes gunicorn, for example nsenter.
    :param bind: addresses of the listeners; None: a free port of 127.0.0.1, the ``address``.
    :param pass_fds: descriptors that gunicorn inherits.
    :param program: a Python program that embeds gunicorn, run with the address instead of gunicorn.
    """

    def __init__(
        self,
        gunicorn: Gunicorn,
        folder: Path,
        *,
        workers: int | None = 2,
        config: str | None = CONFIG,
        arguments: tuple[str, ...] = (),
        environ: Mapping[str, str] | None = None,
        run_by: tuple[str, ...] = (),
        bind: tuple[str, ...] | None = None,
        pass_fds: tuple[int, ...] = (),
        app: str = "tests.lab.wsgi_app:app",
        program: tuple[str, ...] | None = None,
    ) -> None:
        self.gunicorn = gunicorn
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        # In a folder that a server of another user can read.
        self.release = Path(tempfile.gettempdir()) / f"release-{os.getpid()}-{self.port}"
        self.journal = Journal(self.release.with_name(f"journal-{os.getpid()}-{self.port}"))
        self.config = folder / f"gunicorn-{self.port}.conf.py"
        self._log = folder / f"log-{self.port}"
        if config is not None:
            write_python(self.config, config)
            arguments = ("--config", str(self.config), *arguments)
        if workers is not None:
            arguments = ("--workers", str(workers), *arguments)
        if gunicorn.has_control_socket:
            arguments = ("--no-control-socket", *arguments)
        self._command = list(run_by) + gunicorn.command(
            *("--name", "lab"),
            *(
                part
                for address in (bind if bind is not None else [self.address])
                for part in ("--bind", address)
            ),
            *(*arguments, app),
        )
        if program is not None:
            self._command = [sys.executable, *program, self.address]
        own = {
            "RELEASE": str(self.release),
            "JOURNAL": str(self.journal.path),
            "HOME": str(folder),
        }
        self._environ = gunicorn.environ(**own, **(environ or {}))
        self._pass_fds = pass_fds
        self._clients: list[socket.socket] = []
        self.process: Group

    def __enter__(self) -> Server:
        with self._log.open("wb") as log:
            self.process = self._popen(log)
        return self

    def _popen(self, log: IO[bytes]) -> Group:
        return Group(
            self._command, env=self._environ, stdout=log, stderr=log, pass_fds=self._pass_fds
        )

    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        for client in self._clients:
            client.close()
        self.release.unlink(missing_ok=True)
        self.journal.path.unlink(missing_ok=True)
        self.process.__exit__(kind, value, traceback)

    @property
    def pid(self) -> int:
        """The arbiter's pid."""
        return self.process.pid

    @property
    def log(self) -> str:
        """The output to stdout and stderr so far."""
        return self._log.read_text()

    @property
    def our_lines(self) -> list[str]:
        """Our lines in the log, without the startup line."""
        lines = [line for line in self.log.splitlines() if "gunicorn_backlog: " in line]
        return [line for line in lines if not STARTUP.search(line)]

    def worker_pids(self) -> set[int]:
        """Return the arbiter's children, as the kernel lists them."""
        return children(self.pid)

    def both_worker_pids(self) -> set[int] | None:
        """Return the pids of two workers; None while the number differs."""
        pids = self.worker_pids()
        return pids if len(pids) == 2 else None

    def wait_until_it_serves(self) -> Server:
        """Wait for the response to a request."""
        wait_for(f"gunicorn to serve; its log: {self.log}", self._answers)
        return self

    def _answers(self) -> bool:
        with suppress(OSError):
            return bool(self.get())
        if self.process.poll() is not None:
            raise AssertionError(f"gunicorn ended: {self.log}")
        return False

    def get(self, path: str = "/", *, timeout_s: float = 30) -> bytes:
        """Return the body of one response. Raises OSError."""
        with self.connect(timeout_s=timeout_s) as client:
            client.sendall(request(path))
            answer = b"".join(iter(lambda: client.recv(65536), b""))
        return answer.partition(b"\r\n\r\n")[2]

    def connect(self, *, timeout_s: float = 30) -> socket.socket:
        """Return a connection to the server. Raises OSError."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=timeout_s)

    def hold(self, requests: int, path: str = "/hold") -> None:
        """Send requests, each on its own connection, whose responses wait for let_go()."""
        for _ in range(requests):
            client = self.connect()
            client.sendall(request(path))
            self._clients.append(client)

    def let_go(self) -> None:
        """Release the held requests, and wait for their responses.

        Each client closes right after the server: gunicorn 27 waits for the close.
        """
        self.release.touch()
        with selectors.DefaultSelector() as selector:
            for client in self._clients:
                selector.register(client, selectors.EVENT_READ)
            while selector.get_map():
                ready = selector.select(timeout=30)
                assert ready, "the held requests are not answered"
                for key, _ in ready:
                    client = cast(socket.socket, key.fileobj)
                    if not client.recv(65536):
                        selector.unregister(client)
                        client.close()
        self._clients.clear()
        self.release.unlink()

    def abandon(self) -> None:
        """Close the connections of the held requests."""
        for client in self._clients:
            client.close()
        self._clients.clear()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the arbiter."""
        self.process.send_signal(number)

    def reload(self, config: str | None = None) -> None:
        """Send SIGHUP, with another config if given, as soon as all workers handle signals."""
        wait_for(
            "the signal handlers of all workers",
            lambda: all(map(has_own_handlers, self.worker_pids())),
        )
        if config is not None:
            write_python(self.config, config)
        self.signal(signal.SIGHUP)


def request(path: str) -> bytes:
    """Return a request as bytes."""
    return f"GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n".encode()
