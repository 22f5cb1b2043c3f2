"""Security: other users and hostile values can't see, reach or change what is ours."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from agent import StandInAgent

from gunicorn_backlog.scoreboard.scoreboard import Scoreboard
from tests.conftest import ServerFactory
from tests.lab.gunicorn_versions import Gunicorn
from tests.lab.procfs import descriptors
from tests.lab.pushes import check_sanity, next_pushes, pushes, wait_until_all_are_idle
from tests.lab.sandbox import require
from tests.lab.server import CONFIG, Server, request

SEPARATORS = "\n\r|#, "
HOSTILE = "x\ngunicorn.workers:99|g|#app:lab,state:idle\n"
OPEN = "import sys; print(open(sys.argv[1], 'rb').read(8))"
# A worker tries every change of the memory.
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


def test_the_shared_memory_is_the_users_own(
    newest: Gunicorn, serve: ServerFactory, agent: StandInAgent
) -> None:
    """The mode is 0600: the same user reads the memory, another user does not."""
    server = serve(newest, environ={"GUNICORN_BACKLOG_URL": agent.url}).wait_until_it_serves()
    path = memory_of(server)
    assert os.stat(path).st_mode & 0o777 == 0o600
    assert Path(path).read_bytes()[:8] == b"gubacklg"
    for pid in (server.pid, *server.worker_pids()):
        refused = read_as(65534, path.replace(str(server.pid), str(pid)))
        assert "Permission denied" in refused.stderr


def test_a_file_in_its_place_is_the_users_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """The file that replaces a memfd has the same mode; memfd is patched away."""
    monkeypatch.delattr(os, "memfd_create")
    former = os.umask(0)
    try:
        scoreboard = Scoreboard(slots=4)
    finally:
        os.umask(former)
    status = os.fstat(scoreboard._fd)
    assert status.st_mode & 0o777 == 0o600
    assert status.st_nlink == 0


def test_a_worker_that_runs_amok_can_not_kill_the_arbiter(
    gunicorn: Gunicorn, serve: ServerFactory, agent: StandInAgent
) -> None:
    """A worker may overwrite, but not shrink or grow the memory: the arbiter continues."""
    environ = {"GUNICORN_BACKLOG_URL": agent.url, "GUNICORN_BACKLOG_INTERVAL": "0.2"}
    server = serve(gunicorn, config=SABOTAGE, environ=environ)
    seen = next_pushes(agent, 5)
    assert server.process.poll() is None
    assert server.log.count("refused: Operation not permitted") >= 4
    assert "Traceback" not in server.log
    for push in seen:
        assert set(push.values("gunicorn.backlog")) == {0}


def test_we_listen_nowhere(newest: Gunicorn, serve: ServerFactory, agent: StandInAgent) -> None:
    """The processes' sockets are gunicorn's listener, and one send-only socket to the Agent."""
    server = serve(newest, environ={"GUNICORN_BACKLOG_URL": agent.url}).wait_until_it_serves()
    wait_until_all_are_idle(agent)
    rows = subprocess.run(["ss", "-Hanp"], capture_output=True, text=True, check=True).stdout
    ours = [row.split() for row in rows.splitlines() if f"pid={server.pid}," in row]
    assert sorted((row[0], row[1]) for row in ours) == [("tcp", "LISTEN"), ("udp", "ESTAB")]
    (udp,) = [row for row in ours if row[0] == "udp"]
    assert udp[5] == agent.url.removeprefix("udp://")


VARIABLES = (
    "DD_ENV",
    "DD_SERVICE",
    "DD_VERSION",
    "DD_TAGS",
    "DATADOG_TAGS",
    "DD_ENTITY_ID",
    "DD_AGENT_HOST",
    "DD_DOGSTATSD_PORT",
    "DD_DOGSTATSD_URL",
)


@pytest.mark.parametrize("variable", VARIABLES)
def test_no_variable_of_datadogs_breaks_a_line(
    variable: str, newest: Gunicorn, serve: ServerFactory, agent: StandInAgent
) -> None:
    """Newlines and separators in Datadog's variables add no line to a datagram or the log."""
    environ = {variable: HOSTILE}
    if variable not in ("DD_AGENT_HOST", "DD_DOGSTATSD_PORT", "DD_DOGSTATSD_URL"):
        environ["GUNICORN_BACKLOG_URL"] = agent.url
    else:
        environ["GUNICORN_CMD_ARGS"] = f"--statsd-host={agent.url.removeprefix('udp://')}"
    server = serve(newest, environ=environ).wait_until_it_serves()
    check_lines(agent)
    check_log(server)


@pytest.mark.parametrize("setting", ["proc_name", "statsd_prefix", "dogstatsd_tags"])
def test_no_setting_of_gunicorns_breaks_a_line(
    setting: str, newest: Gunicorn, serve: ServerFactory, agent: StandInAgent
) -> None:
    """Newlines and separators in gunicorn's settings add no line, either."""
    text = f"{CONFIG}{setting} = {HOSTILE!r}\n"
    arguments = ("--name", HOSTILE) if setting == "proc_name" else ()
    environ = {"GUNICORN_BACKLOG_URL": agent.url}
    server = serve(newest, config=text, environ=environ, arguments=arguments)
    check_lines(agent)
    check_log(server)


def test_no_header_breaks_a_line(
    newest: Gunicorn, serve: ServerFactory, agent: StandInAgent, tmp_path: Path
) -> None:
    """A client's X-Request-Start is a valid number, or is ignored."""
    bind = ("127.0.0.1:0", f"unix:{tmp_path}/app.sock")
    server = serve(newest, environ={"GUNICORN_BACKLOG_URL": agent.url}, bind=bind)
    wait_until_all_are_idle(agent)
    hostile = HOSTILE.strip().replace("\n", "\t")
    started = f"X-Request-Start: t=1{hostile}\r\n\r\n".encode()
    script = "import socket,sys; s = socket.socket(1); s.connect(sys.argv[1]); s.sendall("
    script += "bytes.fromhex(sys.argv[2])); s.recv(9)"
    octets = (request("/plain")[:-2] + started).hex()
    done = [sys.executable, "-c", script, f"{tmp_path}/app.sock", octets]
    subprocess.run(done, check=True)
    check_lines(agent)
    check_log(server)


def check_lines(agent: StandInAgent) -> None:
    """Assert that all pushed names are ours, and that no tag has a separator."""
    next_pushes(agent, 1)
    for push in pushes(agent):
        for line in push.lines:
            assert line.name.isascii()
            assert line.name.replace("_", "").replace(".", "").isalnum()
            assert not any(set(tag) & set(SEPARATORS) for tag in line.tags)
            assert not (line.name == "gunicorn.workers" and line.values == (99,))
    check_sanity(pushes(agent)[-1:], workers=2, connections=1)


def check_log(server: Server) -> None:
    """Assert that no line of the log was created by a hostile value."""
    assert "Traceback" not in server.log
    assert not [line for line in server.log.splitlines() if line.startswith("gunicorn.workers:99")]
