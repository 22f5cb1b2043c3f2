"""Every kind of listener at every depth, compared with ``ss`` in one table, and its ``bind``."""

from __future__ import annotations

import os
import re
import signal
import socket
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from agent import StandInAgent

from gunicorn_backlog.config.tags import listener_tag
from tests.conftest import AgentFactory, ServerFactory
from tests.lab.gunicorn_versions import BETWEEN, VERSIONS, Gunicorn
from tests.lab.nightly import ALL_VERSIONS, nightly
from tests.lab.ports import free_port
from tests.lab.procfs import has_own_handlers
from tests.lab.push_streams import wait_until_all_came
from tests.lab.pushes import Push, pushes, pushes_since, wait_until_all_are_idle
from tests.lab.server import Server
from tests.lab.short_interval import SHORT_CONFIG
from tests.lab.ss import Listening, ss_port, ss_unix
from tests.lab.waiting import wait_for

OLDEST, NEWEST = VERSIONS
BACKLOG = 5
FULL = BACKLOG + 1  # the kernel holds one more than the limit
OVER = 4  # attempts beyond a full queue
# Long enough that a server whose check is not due yet costs little.
INTERVAL = {"GUNICORN_BACKLOG_INTERVAL": "0.08", "GUNICORN_BACKLOG_SAMPLES": "2"}
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


def every_address(folder: Path, _: ExitStack) -> Setup:
    """127.0.0.1:port, [::1]:port, [::]:port with clients of IPv4, and unix:/path."""
    (v4, port), (v6, port_6), (both, port_both) = free(), free("::1"), free("::")
    path = str(folder / "app.sock")
    targets = [
        tcp((v4, port)),
        tcp((v6, port_6)),
        tcp((both, port_both), "127.0.0.1"),
        unix(path),
    ]
    bind = (f"{v4}:{port}", f"[{v6}]:{port_6}", f"[{both}]:{port_both}", f"unix:{path}")
    return Setup(targets, bind)


def fd(folder: Path, stack: ExitStack) -> Setup:
    """fd://N: sockets that were bound before gunicorn's start.

    One of them is in the abstract namespace: gunicorn can't bind an address there.
    """
    inherited = stack.enter_context(socket.socket(socket.AF_UNIX))
    address = f"\0{folder.name}-{os.getpid()}"
    inherited.bind(address)
    other = stack.enter_context(socket.socket())
    other.bind(("127.0.0.1", 0))
    fds = (inherited.fileno(), other.fileno())
    bind = tuple(f"fd://{number}" for number in fds)
    return Setup([unix(address), tcp(other)], bind, pass_fds=fds)


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


def v6_first(_: Path, __: ExitStack) -> Setup:
    """[::1]:port."""
    host, port = free("::1")
    return Setup([tcp((host, port))], (f"[{host}]:{port}",))


def dual_stack_first(_: Path, __: ExitStack) -> Setup:
    """[::]:port."""
    host, port = free("::")
    return Setup([tcp((host, port))], (f"[{host}]:{port}",))


def unix_first(folder: Path, _: ExitStack) -> Setup:
    """A Unix socket before a TCP one."""
    path, (host, port) = str(folder / "app.sock"), free()
    return Setup([unix(path), tcp((host, port))], (f"unix:{path}", f"{host}:{port}"))


def relative(folder: Path, _: ExitStack) -> Setup:
    """A Unix path that is relative to gunicorn's working directory."""
    target = unix(str(folder / "app.sock"))
    return Setup([target], ("unix:app.sock",), arguments=("--chdir", str(folder)))


def reuse_port_by_name(_: Path, __: ExitStack) -> Setup:
    """reuse_port at ``localhost``."""
    port = free_port()
    return Setup([tcp(("127.0.0.1", port))], (f"localhost:{port}",), 1, ("--reuse-port",))


def reuse_port_fd(_: Path, stack: ExitStack) -> Setup:
    """reuse_port at an inherited socket."""
    sock = stack.enter_context(socket.socket())
    sock.bind(("127.0.0.1", 0))
    fds = (sock.fileno(),)
    return Setup([tcp(sock)], (f"fd://{fds[0]}",), arguments=("--reuse-port",), pass_fds=fds)


Started = tuple[Setup, Server, StandInAgent]
Make = Callable[[Path, ExitStack], Setup]
SETUPS: dict[str, Make] = {
    "every address": every_address,
    "fd://": fd,
    "LISTEN_FDS": listen_fds,
    "reuse_port": reuse_port,
}
LISTENERS, MOST_LISTENERS = 4 + 2 + 2 + 1, 4  # of all, and of one
# Of these only the tag ``bind`` is checked.
FOR_BIND: dict[str, Make] = {
    "port 0": port_0,
    "v6": v6_first,
    "dual-stack": dual_stack_first,
    "Unix first": unix_first,
    "reuse_port, name": reuse_port_by_name,
    "reuse_port, fd": reuse_port_fd,
    "relative Unix path": relative,
}
# The parts of gunicorn that differ by version: the real port, and reuse_port.
BIND_CASES = [
    pytest.param(NEWEST, FOR_BIND, id=NEWEST),
    pytest.param(
        OLDEST, {name: FOR_BIND[name] for name in ("port 0", "reuse_port, name")}, id=OLDEST
    ),
    *(nightly(version, FOR_BIND, id=f"{version}, all") for version in (OLDEST, *BETWEEN)),
]


@dataclass(frozen=True)
class Cell:
    """One listener at one depth by ss and by us: length, limit, the longest queue."""

    ss: tuple[int, int, int]
    ours: tuple[float, ...]


def fill(target: Target, depth: str, stack: ExitStack) -> None:
    """Bring all queues of a listener to the depth."""
    wanted = DEPTHS[depth] * (len(target.oracle()) if DEPTHS[depth] == FULL else 1)
    deadline = iter(range(200))
    while (missing := wanted - target.length) > 0:
        for _ in range(missing):  # with reuse_port some meet a full queue
            next(deadline)
            target.connect(stack)
    if depth == "over-full":
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


@contextmanager
def stopped_workers(servers: Iterable[Started]) -> Iterator[None]:
    """Stop the workers in the context, so that no connection is accepted."""
    pids = [pid for _, server, _ in servers for pid in server.worker_pids()]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    yield
    for pid in pids:
        os.kill(pid, signal.SIGCONT)


def measure(servers: Mapping[str, Started]) -> dict[tuple[str, str, str], set[Cell]]:
    """Bring the listeners to each depth, and compare, by set-up, tag and depth.

    Each listener of a server is one depth behind the one before it.
    """
    table: dict[tuple[str, str, str], set[Cell]] = {}
    with stopped_workers(servers.values()), ExitStack() as clients:
        for step in range(len(DEPTHS) + MOST_LISTENERS - 1):
            for setup, _, _ in servers.values():
                for target, depth, is_new in at_step(setup, step):
                    if is_new:
                        fill(target, depth, clients)
            seen = {name: len(agent.datagrams) for name, (_, _, agent) in servers.items()}
            for name, (setup, _, agent) in servers.items():
                found = pushes_since(agent, seen[name], 2)
                for target, depth, _ in at_step(setup, step):
                    cells = table.setdefault((name, target.tag, depth), set())
                    cells.add(compare(target, found))
    return table


def at_step(setup: Setup, step: int) -> Iterator[tuple[Target, str, bool]]:
    """Return each listener's depth at a step, and whether it begins there."""
    depths = list(DEPTHS)
    for behind, target in enumerate(setup.targets):
        number = min(max(step - behind, 0), len(depths) - 1)
        yield target, depths[number], step - behind == number


def show(version: str, table: dict[tuple[str, str, str], set[Cell]]) -> None:
    """Print the table."""
    print(f"\n\ngunicorn {version}: waiting, limit, longest queue")
    print(f"{'set-up':14} {'depth':10} {'ss':14} {'ours':14} listener")
    for (name, tag, depth), cells in table.items():
        for cell in cells:
            ss, ours = (" ".join(f"{int(n):3}" for n in each) for each in (cell.ss, cell.ours))
            print(f"{name:14} {depth:10} {ss:14} {ours:14} {tag}")


@pytest.mark.parametrize("version", ALL_VERSIONS)
def test_every_listener_at_every_depth(
    version: str,
    installed: Callable[[str], Gunicorn],
    serve: ServerFactory,
    listen: AgentFactory,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Each push of a steady state agrees with ss; ``-n0`` prints the table."""
    with all_started(SETUPS, installed(version), serve, listen, tmp_path) as servers:
        table = measure(servers)

    with capsys.disabled():
        show(version, table)
    assert len(table) == LISTENERS * len(DEPTHS)
    wrong = {key: cells for key, cells in table.items() if any(c.ss != c.ours for c in cells)}
    assert wrong == {}
    # Before gunicorn 25 the arbiter listened, with reuse_port, too.
    queues = 3 if int(version.partition(".")[0]) >= 25 else 1
    (full,) = [cells for key, cells in table.items() if key[0] == "reuse_port" and key[2] == "full"]
    assert {cell.ss for cell in full} == {(queues * FULL, queues * BACKLOG, FULL)}


@pytest.mark.parametrize(("version", "setups"), BIND_CASES)
def test_the_tag_bind(
    version: str,
    setups: Mapping[str, Make],
    installed: Callable[[str], Gunicorn],
    serve: ServerFactory,
    listen: AgentFactory,
    tmp_path: Path,
) -> None:
    """All lines from the first push to the last have the first listener's address as ``bind``."""
    with all_started(setups, installed(version), serve, listen, tmp_path) as servers:
        assert len(servers) == len(setups)


@contextmanager
def all_started(
    setups: Mapping[str, Make],
    gunicorn: Gunicorn,
    serve: ServerFactory,
    listen: AgentFactory,
    folder: Path,
) -> Iterator[dict[str, Started]]:
    """Start a server for each set-up; end them after the context, and check their ``bind``."""
    servers = {}
    with ExitStack() as stack:
        for name, make in setups.items():
            own = folder / re.sub(r"\W+", "-", name)
            own.mkdir()
            setup, agent = make(own, stack), listen()
            servers[name] = setup, start(setup, gunicorn, serve, agent), agent
        for setup, server, agent in servers.values():
            wait_until_it_pushes(server, agent)
            wait_until_all_are_idle(agent, setup.workers)
        yield servers
        for _, server, _ in servers.values():
            wait_for("its workers", lambda: all(map(has_own_handlers, server.worker_pids())))  # noqa: B023
            server.signal(signal.SIGTERM)
        for name, (setup, server, agent) in servers.items():
            server.process.wait()
            wait_until_all_came(agent)
            check_bind(name, setup, server, agent)


def start(setup: Setup, gunicorn: Gunicorn, serve: ServerFactory, agent: StandInAgent) -> Server:
    """Start a server with these listeners."""
    return serve(
        gunicorn,
        workers=setup.workers,
        bind=setup.bind,
        config=SHORT_CONFIG,
        environ=INTERVAL | {"GUNICORN_BACKLOG_URL": agent.url},
        arguments=(*setup.arguments, "--backlog", str(BACKLOG), "--timeout", "0"),
        pass_fds=setup.pass_fds,
        run_by=setup.run_by,
    )


def wait_until_it_pushes(server: Server, agent: StandInAgent) -> None:
    """Wait for a push; fail at once if gunicorn ended, or does not get an address."""

    def pushes_came() -> bool:
        assert server.process.poll() is None, f"gunicorn ended: {server.log}"
        assert "Connection in use" not in server.log, server.log
        return bool(pushes(agent))

    wait_for("a push", pushes_came)


def check_bind(name: str, setup: Setup, server: Server, agent: StandInAgent) -> None:
    """Assert that all lines have the first listener's address, also in the last push."""
    found = [push for push in pushes(agent) if push.all("gunicorn.is_running")]
    # gunicorn fails before on_exit: it treats an abstract socket's name as a path.
    last = 0 if name == "fd://" else 2
    assert found[-1].values("gunicorn.is_running") == (last,), name
    expected = setup.targets[0].tag if setup.targets else listens_at(server)
    assert {line.tag("bind") for push in found for line in push.lines} == {expected}, name


def listens_at(server: Server) -> str:
    """Return the address in gunicorn's log."""
    (address,) = re.findall(r"Listening at: http://(\S+)", server.log)
    return str(address)
