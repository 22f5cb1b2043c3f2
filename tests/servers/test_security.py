"""Other users and hostile texts: no access to our memory, no listener, no line of their own."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path

import pytest
from agent import StandInAgent

from gunicorn_backlog.scoreboard.scoreboard import Scoreboard
from tests.conftest import ServerFactory
from tests.lab.gunicorn_versions import Gunicorn
from tests.lab.nightly import NEWEST_BY_DAY
from tests.lab.procfs import descriptors
from tests.lab.pushes import check_sanity, next_pushes, pushes, wait_until_all_are_idle
from tests.lab.sandbox import require
from tests.lab.server import CONFIG, Server, request
from tests.lab.waiting import wait_for

INTERVAL = {"GUNICORN_BACKLOG_INTERVAL": "0.1", "GUNICORN_BACKLOG_SAMPLES": "5"}
SEPARATORS = "\n\r|#, "
INJECTED = "\ngunicorn.workers:99|g|#app:lab,state:idle\n"
OPEN = "import sys; print(open(sys.argv[1], 'rb').read(8))"
# The attacks of a worker on the shared memory.
SABOTAGE = (
    CONFIG
    + """
import os
from gunicorn_backlog import hooks

def post_worker_init(worker):
    hooks.post_worker_init(worker)
    fd = hooks._monitor._pipeline.scoreboard._fd
    for attack in (
        lambda: os.ftruncate(fd, 0),
        lambda: os.pwrite(fd, bytes(reversed(range(256))), 20),
        lambda: os.posix_fallocate(fd, 0, 2**40),
    ):
        try:
            attack()
        except OSError as error:
            print("refused:", error.strerror, flush=True)
"""
)


def memory_of(server: Server) -> str:
    """Return the path of the shared memory for processes of the same user."""
    fds = [
        fd for fd, target in descriptors(server.pid).items() if "/memfd:gunicorn_backlog" in target
    ]
    return f"/proc/{server.pid}/fd/{fds[0]}"


def read_as(uid: int, path: str) -> subprocess.CompletedProcess[str]:
    """Read the first bytes of a file as that user, without capabilities."""
    require("setpriv", "--version")
    setpriv = ("setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups")
    command = [*setpriv, "--bounding-set=-all", "/usr/bin/env", "python3", "-c", OPEN, path]
    environ = {"PATH": "/usr/bin:/bin:/usr/local/bin"}
    return subprocess.run(command, env=environ, capture_output=True, text=True, check=False)


def test_what_other_users_reach(
    newest: Gunicorn, serve: ServerFactory, agent: StandInAgent
) -> None:
    """The shared memory's mode is 0600: the same user reads it, another one does not, by no path.

    The arbiter's sockets are gunicorn's listener, and one to the Agent that only sends.
    """
    environ = {"GUNICORN_BACKLOG_URL": agent.url} | INTERVAL
    server = serve(newest, environ=environ).wait_until_it_serves()
    wait_until_all_are_idle(agent)
    path = memory_of(server)
    assert os.stat(path).st_mode & 0o777 == 0o600
    assert Path(path).read_bytes()[:8] == b"gubacklg"
    for pid in (server.pid, *server.worker_pids()):
        refused = read_as(65534, path.replace(str(server.pid), str(pid)))
        assert "Permission denied" in refused.stderr
    rows = subprocess.run(["ss", "-Hanp"], capture_output=True, text=True, check=True).stdout
    ours = [row.split() for row in rows.splitlines() if f"pid={server.pid}," in row]
    assert sorted((row[0], row[1]) for row in ours) == [("tcp", "LISTEN"), ("udp", "ESTAB")]
    (udp,) = [row for row in ours if row[0] == "udp"]
    assert udp[5] == agent.url.removeprefix("udp://")


def test_a_file_in_its_place_is_the_users_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same mode without memfd; memfd is removed by patching, since only the mode matters."""
    monkeypatch.delattr(os, "memfd_create")
    former = os.umask(0)
    try:
        scoreboard = Scoreboard(slots=4)
    finally:
        os.umask(former)
    status = os.fstat(scoreboard._fd)
    assert status.st_mode & 0o777 == 0o600
    assert status.st_nlink == 0


@NEWEST_BY_DAY
def test_sabotage_by_a_worker_does_not_end_the_arbiter(
    gunicorn: Gunicorn, serve: ServerFactory, agent: StandInAgent
) -> None:
    """A worker can write anything, but neither shrink nor grow the memory; pushes go on."""
    environ = {"GUNICORN_BACKLOG_URL": agent.url} | INTERVAL
    server = serve(gunicorn, config=SABOTAGE, environ=environ)
    seen = next_pushes(agent, 5)
    assert server.process.poll() is None
    assert server.log.count("refused: Operation not permitted") >= 4
    assert "Traceback" not in server.log
    for push in seen:
        assert set(push.values("gunicorn.backlog")) == {0}


TAGGING = ("DD_ENV", "DD_SERVICE", "DD_VERSION", "DD_TAGS", "DATADOG_TAGS", "DD_ENTITY_ID")
ADDRESSING = ("DD_AGENT_HOST", "DD_DOGSTATSD_PORT", "DD_DOGSTATSD_URL")
SETTINGS = ("statsd_prefix", "dogstatsd_tags")
NAME = "proc_name"


def hostile(name: str) -> str:
    """Return a value that makes a line of its own where separators are not replaced."""
    return name + INJECTED


def test_no_text_of_others_breaks_a_line(
    newest: Gunicorn, serve: ServerFactory, agent: StandInAgent, tmp_path: Path
) -> None:
    """Newlines and separators make no line of their own, in a datagram or in the log.

    The texts are in Datadog's variables, in gunicorn's settings, and in a client's X-Request-Start.
    """
    path = f"{tmp_path}/app.sock"
    server = serve(
        newest,
        config=CONFIG + "".join(f"{name} = {hostile(name)!r}\n" for name in SETTINGS),
        environ={name: hostile(name) for name in TAGGING}
        | {"GUNICORN_BACKLOG_URL": agent.url}
        | INTERVAL,
        arguments=("--name", hostile(NAME)),
        bind=("127.0.0.1:0", f"unix:{path}"),
    )
    wait_for("the workers", lambda: agent.datagrams and server.both_worker_pids())
    ask_with_a_header(path, f"X-Request-Start: t=1{hostile('x').strip()}".replace("\n", "\t"))
    check_lines(agent)
    check_log(server)
    lines = [line for push in pushes(agent) for line in push.lines]
    without = {line.name for line in lines if not line.name.startswith("statsd_prefix")}
    assert without == {"gunicorn.is_running"}  # a service check
    tags = {tag for line in lines for tag in line.tags}
    for name in (*TAGGING, NAME, "dogstatsd_tags"):
        assert [tag for tag in tags if name in tag], f"{name} is not in {tags}"


def ask_with_a_header(path: str, header: str) -> None:
    """Send a request with this header to a Unix socket."""
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
        client.sendall(request("/plain")[:-2] + f"{header}\r\n\r\n".encode())
        assert client.recv(9)


def test_no_address_of_datadogs_variables_breaks_a_line(
    newest: Gunicorn, serve: ServerFactory, agent: StandInAgent
) -> None:
    """Each variable is ignored, with one log line, and gunicorn's ``statsd_host`` is used."""
    environ = {name: hostile(name) for name in ADDRESSING} | INTERVAL
    environ["GUNICORN_CMD_ARGS"] = f"--statsd-host={agent.url.removeprefix('udp://')}"
    server = serve(newest, environ=environ)
    wait_until_all_are_idle(agent)
    check_lines(agent)
    check_log(server)
    for name in ADDRESSING:
        assert len([line for line in server.our_lines if f"{name}=" in line]) == 1


def check_lines(agent: StandInAgent) -> None:
    """Assert that all lines are ours: names are well-formed, and tags have no separators."""
    (latest,) = next_pushes(agent, 1)  # gunicorn's own statsd sends a line at its start
    for push in pushes(agent):
        for line in push.lines:
            assert line.name.isascii()
            assert line.name.replace("_", "").replace(".", "").isalnum()
            assert not any(set(tag) & set(SEPARATORS) for tag in line.tags)
            assert not (line.name.endswith("gunicorn.workers") and line.values == (99,))
    check_sanity([latest], workers=2, connections=1)


def check_log(server: Server) -> None:
    """Assert that no line of the log begins with the injected text."""
    assert "Traceback" not in server.log
    assert not [line for line in server.log.splitlines() if line.startswith("gunicorn.workers:99")]
