"""Every kind of listener at every depth, compared with ``ss`` in one table, and its ``bind``."""

from __future__ import annotations

import os
import re
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from agent import StandInAgent

from gunicorn_backlog.config.tags import listener_tag
from tests.conftest import ServerFactory
from tests.lab.gunicorn_versions import Gunicorn
from tests.lab.nightly import ALL_VERSIONS
from tests.lab.ports import free_port
from tests.lab.procfs import has_own_handlers
from tests.lab.push_streams import wait_until_all_came
from tests.lab.pushes import Push, next_pushes, pushes, wait_until_all_are_idle
from tests.lab.server import Server
from tests.lab.ss import Listening, ss_port, ss_unix
from tests.lab.waiting import wait_for

BACKLOG = 5
FULL = BACKLOG + 1  # the kernel holds one more than the limit
OVER = 4  # attempts beyond a full queue
DEPTHS = {"0": 0, "1": 1, "3": 3, "full": FULL, "over-full": FULL}

# systemd's protocol: the sockets are at descriptor 3 and up, for this pid.
AS_SYSTEMD = """
import os, sys
fds = [int(fd) for fd in sys.argv[1].split(",")]
for number, fd in enumerate(fds):
    os.dup2(fd, 3 + number, inheritable=True)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(len(fds))}
os.execv(sys.argv[2], sys.argv[2:])
"""


@dataclass
class Target:
    """One listener of a set-up: its tag, its address, and its oracle ``ss``."""

    tag: str
    family: socket.AddressFamily
    address: object
    oracle: Callable[[], list[Listening]]
    clients: list[socket.socket] = field(default_factory=list)

    def connect(self, stack: ExitStack) -> None:
        """Begin a connection, and do not wait for it."""
        client = stack.enter_context(socket.socket(self.family))
        client.setblocking(False)
        client.connect_ex(self.address)  # type: ignore[arg-type]  # of either family
        self.clients.append(client)

    @property
    def length(self) -> int:
        """The sum of its queues' lengths, by ``ss``."""
        return sum(listening.recv_q for listening in self.oracle())


@dataclass
class Setup:
    """One configuration of listeners."""

    targets: list[Target]
    bind: tuple[str, ...] | None = None
    workers: int = 1
    arguments: tuple[str, ...] = ()
    pass_fds: tuple[int, ...] = ()
    run_by: tuple[str, ...] = ()


def tcp(sock: socket.socket | tuple[str, int], connect_to: str | None = None) -> Target:
    """Return a TCP listener's target, by its socket or address."""
    host, port = (sock.getsockname() if isinstance(sock, socket.socket) else sock)[:2]
    family = socket.AF_INET6 if ":" in (connect_to or host) else socket.AF_INET
    address = (connect_to or host, port)
    return Target(listener_tag((host, port)), family, address, lambda: ss_port(port))


def unix(address: str) -> Target:
    """Return a Unix listener's target."""
    path = f"@{address[1:]}" if address.startswith("\0") else address
    return Target(listener_tag(address), socket.AF_UNIX, address, lambda: ss_unix(path))


def free(host: str = "127.0.0.1") -> tuple[str, int]:
    """Return an address with a free port."""
    return host, free_port(host=host)


def v4(_: Path, __: ExitStack) -> Setup:
    """127.0.0.1:port."""
    host, port = free()
    return Setup([tcp((host, port))], (f"{host}:{port}",))


def v6(_: Path, __: ExitStack) -> Setup:
    """[::1]:port."""
    host, port = free("::1")
    return Setup([tcp((host, port))], (f"[{host}]:{port}",))


def dual_stack(_: Path, __: ExitStack) -> Setup:
    """[::]:port, and clients of IPv4."""
    host, port = free("::")
    return Setup([tcp((host, port), "127.0.0.1")], (f"[{host}]:{port}",))


def unix_path(folder: Path, _: ExitStack) -> Setup:
    """unix:/path."""
    path = str(folder / "app.sock")
    return Setup([unix(path)], (f"unix:{path}",))


def unix_abstract(folder: Path, stack: ExitStack) -> Setup:
    """An inherited socket in the abstract namespace: gunicorn can't bind one."""
    sock = stack.enter_context(socket.socket(socket.AF_UNIX))
    address = f"\0{folder.name}-{os.getpid()}"
    sock.bind(address)
    fd = sock.fileno()
    return Setup([unix(address)], (f"fd://{fd}",), pass_fds=(fd,))


def tcp_and_unix(folder: Path, stack: ExitStack) -> Setup:
    """One of each."""
    one, other = v4(folder, stack), unix_path(folder, stack)
    return Setup([*one.targets, *other.targets], (*(one.bind or ()), *(other.bind or ())))


def three_tcp(folder: Path, stack: ExitStack) -> Setup:
    """Three at once."""
    setups = [v4(folder, stack) for _ in range(3)]
    return Setup(
        [setup.targets[0] for setup in setups],
        tuple(b for setup in setups for b in setup.bind or ()),
    )


def fd(_: Path, stack: ExitStack) -> Setup:
    """fd://N: a socket that was bound before gunicorn's start."""
    sock = stack.enter_context(socket.socket())
    sock.bind(("127.0.0.1", 0))
    return Setup([tcp(sock)], (f"fd://{sock.fileno()}",), pass_fds=(sock.fileno(),))


def listen_fds(folder: Path, stack: ExitStack) -> Setup:
    """LISTEN_FDS: sockets passed by systemd."""
    first, second = (stack.enter_context(socket.socket(family)) for family in (2, 1))
    first.bind(("127.0.0.1", 0))
    second.bind(str(folder / "systemd.sock"))
    fds = (first.fileno(), second.fileno())
    run_by = (sys.executable, "-c", AS_SYSTEMD, ",".join(map(str, fds)))
    return Setup([tcp(first), unix(second.getsockname())], pass_fds=fds, run_by=run_by)


def reuse_port(_: Path, __: ExitStack) -> Setup:
    """Each worker has a socket of its own."""
    host, port = free()
    return Setup([tcp((host, port))], (f"{host}:{port}",), 3, ("--reuse-port",))


def port_0(_: Path, __: ExitStack) -> Setup:
    """127.0.0.1:0: only gunicorn's log has the real port."""
    return Setup([], ("127.0.0.1:0",))


def unix_first(folder: Path, stack: ExitStack) -> Setup:
    """A Unix socket before a TCP one."""
    one, other = unix_path(folder, stack), v4(folder, stack)
    return Setup([*one.targets, *other.targets], (*(one.bind or ()), *(other.bind or ())))


def relative(folder: Path, _: ExitStack) -> Setup:
    """A Unix path that is relative to gunicorn's working directory."""
    target = unix(str(folder / "app.sock"))
    return Setup([target], ("unix:app.sock",), arguments=("--chdir", str(folder)))


def reuse_port_by_name(_: Path, __: ExitStack) -> Setup:
    """reuse_port at ``localhost``."""
    port = free_port()
    return Setup([tcp(("127.0.0.1", port))], (f"localhost:{port}",), 1, ("--reuse-port",))


def reuse_port_fd(folder: Path, stack: ExitStack) -> Setup:
    """reuse_port at an inherited socket."""
    setup = fd(folder, stack)
    setup.arguments = ("--reuse-port",)
    return setup


SETUPS = {
    "v4": v4,
    "v6": v6,
    "dual-stack": dual_stack,
    "Unix path": unix_path,
    "Unix abstract": unix_abstract,
    "TCP + Unix": tcp_and_unix,
    "three TCP": three_tcp,
    "fd://": fd,
    "LISTEN_FDS": listen_fds,
    "reuse_port": reuse_port,
}
# Of these only the tag ``bind`` is checked.
FOR_BIND = {
    "port 0": port_0,
    "Unix first": unix_first,
    "reuse_port, name": reuse_port_by_name,
    "reuse_port, fd": reuse_port_fd,
    "relative Unix path": relative,
}


@dataclass(frozen=True)
class Cell:
    """One listener at one depth by ss and by us: length, limit, the longest queue."""

    ss: tuple[int, int, int]
    ours: tuple[float, ...]


def fill(targets: list[Target], depth: str, stack: ExitStack) -> None:
    """Bring the queues to the depth: the first all, the second one at most, the third two."""
    for number, target in enumerate(targets):
        queues = len(target.oracle())
        wanted = min(DEPTHS[depth] * (queues if DEPTHS[depth] == FULL else 1), (999, 1, 2)[number])
        deadline = iter(range(200))
        while target.length < wanted:
            next(deadline)
            target.connect(stack)
            wait_for("the connection", lambda target=target: target.oracle())  # type: ignore[misc]
        if depth == "over-full" and number == 0:
            for _ in range(OVER):
                target.connect(stack)


def compare(target: Target, found: list[Push]) -> Cell:
    """Compare each of the pushes with ``ss``."""
    kernel = target.oracle()
    lengths, limits = [queue.recv_q for queue in kernel], [queue.send_q for queue in kernel]
    said = set()
    for push in found:
        tag = f"listener:{target.tag}"
        waiting = set(push.values("gunicorn.backlog", tag))
        deepest = push.all("gunicorn.backlog.deepest", tag)
        longest = deepest[0].values[0] if deepest else max(waiting)
        said.add((*waiting, push.values("gunicorn.backlog.limit", tag)[0], longest))
    (ours,) = said
    return Cell((sum(lengths), sum(limits), max(lengths)), ours)


def stop_workers(server: Server) -> None:
    """Stop the workers, so that no connection is accepted."""
    for pid in server.worker_pids():
        os.kill(pid, signal.SIGSTOP)


def measure(setup: Setup, server: Server, agent: StandInAgent) -> dict[tuple[str, str], Cell]:
    """Bring the listeners to each depth, and compare, by tag and depth."""
    stop_workers(server)
    measured = {}
    with ExitStack() as clients:
        for depth in DEPTHS:
            fill(setup.targets, depth, clients)
            found = next_pushes(agent, 2)
            for target in setup.targets:
                measured[target.tag, depth] = compare(target, found)
    for pid in server.worker_pids():
        os.kill(pid, signal.SIGCONT)
    return measured


def show(version: str, table: dict[tuple[str, str, str], Cell]) -> None:
    """Print the table."""
    print(f"\n\ngunicorn {version}: waiting, limit, longest queue")
    print(f"{'set-up':14} {'depth':10} {'ss':14} {'ours':14} listener")
    for (name, tag, depth), cell in table.items():
        ss, ours = (" ".join(f"{int(n):3}" for n in numbers) for numbers in (cell.ss, cell.ours))
        print(f"{name:14} {depth:10} {ss:14} {ours:14} {tag}")


@pytest.mark.parametrize("version", ALL_VERSIONS)
def test_every_listener_at_every_depth(
    version: str,
    installed: Callable[[str], Gunicorn],
    serve: ServerFactory,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Each push of a steady state agrees with ss; ``-n0`` prints the table.

    All lines from the first push to the last have the first listener's address as ``bind``.
    """
    table: dict[tuple[str, str, str], Cell] = {}
    for name, make in (SETUPS | FOR_BIND).items():
        with StandInAgent() as agent, ExitStack() as stack:
            folder = tmp_path / re.sub(r"\W+", "-", name)
            folder.mkdir()
            setup = make(folder, stack)
            server = started(setup, installed(version), serve, agent)
            if name in SETUPS:
                measured = measure(setup, server, agent)
                table |= {(name, *key): cell for key, cell in measured.items()}
            end(server)
            wait_until_all_came(agent)
            check_bind(name, setup, server, agent)

    with capsys.disabled():
        show(version, table)
    assert len(table) >= len(SETUPS) * len(DEPTHS)
    assert [key for key, cell in table.items() if cell.ss != cell.ours] == []
    # Before gunicorn 25 the arbiter listened, with reuse_port, too.
    queues = 3 if int(version.partition(".")[0]) >= 25 else 1
    (full,) = [cell for key, cell in table.items() if key[0] == "reuse_port" and key[2] == "full"]
    assert full.ss == (queues * FULL, queues * BACKLOG, FULL)


def started(setup: Setup, gunicorn: Gunicorn, serve: ServerFactory, agent: StandInAgent) -> Server:
    """Return a server with these listeners and idle workers."""
    interval = {"GUNICORN_BACKLOG_INTERVAL": "0.1", "GUNICORN_BACKLOG_SAMPLES": "4"}
    server = serve(
        gunicorn,
        workers=setup.workers,
        bind=setup.bind,
        environ=interval | {"GUNICORN_BACKLOG_URL": agent.url},
        arguments=(*setup.arguments, "--backlog", str(BACKLOG), "--timeout", "0"),
        pass_fds=setup.pass_fds,
        run_by=setup.run_by,
    )
    wait_until_all_are_idle(agent, setup.workers)
    return server


def end(server: Server) -> None:
    """End the server by SIGTERM, when its workers handle signals."""
    wait_for("its workers", lambda: all(map(has_own_handlers, server.worker_pids())))
    server.signal(signal.SIGTERM)
    server.process.wait()


def check_bind(name: str, setup: Setup, server: Server, agent: StandInAgent) -> None:
    """Assert that all lines have the first listener's address, also in the last push."""
    found = [push for push in pushes(agent) if push.all("gunicorn.is_running")]
    # gunicorn fails before on_exit: it treats an abstract socket's name as a path.
    last = 0 if name == "Unix abstract" else 2
    assert found[-1].values("gunicorn.is_running") == (last,), name
    expected = setup.targets[0].tag if setup.targets else listens_at(server)
    assert {line.tag("bind") for push in found for line in push.lines} == {expected}, name


def listens_at(server: Server) -> str:
    """Return the address in gunicorn's log."""
    (address,) = re.findall(r"Listening at: http://(\S+)", server.log)
    return str(address)
