"""Findings on a running server."""

from __future__ import annotations

from collections.abc import Iterator

from gunicorn_backlog import __version__
from gunicorn_backlog.cli.check import agent
from gunicorn_backlog.cli.check.config import class_finding
from gunicorn_backlog.cli.check.findings import Finding, Level, failed, ok, warning
from gunicorn_backlog.cli.check.kernel import RAISE
from gunicorn_backlog.cli.inspect import namespaces
from gunicorn_backlog.cli.inspect.discovery import Server, first_pids
from gunicorn_backlog.cli.inspect.listener_samples import Listener
from gunicorn_backlog.cli.inspect.snapshot import Snapshot
from gunicorn_backlog.config.agent_address import DISABLED, is_local, parse
from gunicorn_backlog.kernel.accept_queue import reason
from gunicorn_backlog.kernel.somaxconn import somaxconn
from gunicorn_backlog.sampling.limits import cause
from gunicorn_backlog.scoreboard.kind import Kind
from gunicorn_backlog.scoreboard.server_info import ServerInfo

_POST_WORKER_INIT = (
    "if the config has a post_worker_init of its own, let it end with "
    "gunicorn_backlog.hooks.install(globals()), which keeps both"
)
_IN_ITS_CONTAINER = "run this in the server's container"


def findings(snapshot: Snapshot) -> Iterator[Finding]:
    """Yield the findings on a server. Raises EndedError."""
    info, server = snapshot.server_info, snapshot.server
    yield ok("server", f"{info.app}, pid {server.pid}, gunicorn {info.gunicorn}")
    if info.version != __version__:
        text = f"the server runs gunicorn_backlog {info.version}, this is {__version__}"
        yield warning("versions", text, "restart the server, or run its own gunicorn-backlog")
    if not info.enabled:
        yield failed("settings", "enabled is False: the hooks do nothing", "set enabled=True")
        return
    yield _hook_finding(snapshot)
    yield class_finding(info.worker_class, info.kind)
    for listener in snapshot.listeners:
        yield _listener_finding(listener, info, server)
    yield _agent_finding(snapshot)
    for text in info.warnings:
        yield warning("server's log", text, "see the server's log")


def _hook_finding(snapshot: Snapshot) -> Finding:
    workers = snapshot.workers
    if not workers:
        return warning("hooks", "the server has no workers", "see the server's log")
    unknown = [worker for worker in workers if worker.state == "unknown"]
    missing = [worker.pid for worker in unknown if worker.kind is None]
    if missing:
        text = f"our post_worker_init did not run in {len(missing)} workers"
        return failed("hooks", f"{text} ({first_pids(missing)})", _POST_WORKER_INIT)
    broken = [worker.pid for worker in unknown if worker.kind == Kind.FAILED]
    if broken:
        text = (
            f"{len(broken)} workers report that their instrumentation failed "
            f"({first_pids(broken)}): their states are unknown"
        )
        return warning("hooks", text, "see the lines of these workers in the server's log")
    starting = [worker for worker in workers if worker.state == "starting"]
    if starting:
        text = f"{len(starting)} of {len(workers)} workers have not reported yet"
        boot_limit_s = snapshot.server_info.boot_limit_s
        remedy = f"if that lasts longer than {boot_limit_s:g} s: {_POST_WORKER_INIT}"
        return warning("hooks", text, remedy)
    return ok("hooks", f"all {len(workers)} workers report")


def _listener_finding(listener: Listener, info: ServerInfo, server: Server) -> Finding:
    latest = listener.latest
    name = latest.listener
    if latest.why:
        text = f"{name} can't be read from here: {latest.why}"
        return warning("listener", text, latest.remedy or f"{_IN_ITS_CONTAINER}, or as root")
    limit = latest.limit if latest.min_limit is None else latest.min_limit
    if limit is None:
        return ok("listener", f"{name}: {latest.length} wait, the limit is unknown")
    if limit >= info.backlog:
        return ok("listener", f"{name}: {latest.length} wait, the limit is {latest.limit}")
    greatest = _somaxconn(name, info, server)
    text = f"{name}: gunicorn requests {info.backlog}, the kernel enforces {limit}"
    remedy = RAISE if limit == greatest else cause(limit, greatest, info.worker_class)
    return warning("backlog", text, remedy)


def _somaxconn(name: str, info: ServerInfo, server: Server) -> int | None:
    """Return net.core.somaxconn of a listener's network namespace; None if unknown."""
    published = (ref.length is not None for ref in info.listeners if ref.listener == name)
    if any(published):
        return None  # the arbiter publishes a length only if the socket is in another namespace
    try:
        with namespaces.network_of(server.pid):
            return somaxconn()
    except OSError:  # the process has ended, or access is denied
        server.check_alive()
        return None


def _agent_finding(snapshot: Snapshot) -> Finding:
    info = snapshot.server_info
    try:
        found = _agent_result(info, snapshot.server.pid)
    except OSError as error:
        snapshot.server.check_alive()
        text = f"not tried: the server is in another network namespace ({reason(error)})"
        found = warning("Agent", text, _IN_ITS_CONTAINER)
    except ValueError:
        found = warning("Agent", f"{info.agent!r} is no address", "see the server's log")
    if info.agent_error and found.level == Level.OK:
        text = f"error of the server's latest push to {info.agent}: {info.agent_error}"
        return warning("Agent", text, "try again; see the server's log")
    return found


def _agent_result(info: ServerInfo, pid: int) -> Finding:
    """Test the Agent's address from the server's network namespace.

    A path or a host name has another meaning in another mount namespace, and is not tested. Raises
    ValueError for a bad address, and OSError if the namespace cannot be entered.
    """
    disabled = info.agent_error == DISABLED
    address = parse(info.agent)
    needs_files = address.scheme != "udp" or not is_local(address)  # resolv.conf, hosts
    if needs_files and not disabled and not namespaces.is_ours(pid, "mnt"):
        latest = info.agent_error and f"; error of its latest push: {info.agent_error}"
        text = f"{address} not tried: the server has other files, in another mount namespace"
        return warning("Agent", f"{text}{latest}", _IN_ITS_CONTAINER)
    with namespaces.network_of(pid):
        return agent.finding(info.agent, disabled=disabled)
