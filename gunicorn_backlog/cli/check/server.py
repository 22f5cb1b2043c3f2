"""What a running server says and shows of itself."""

from __future__ import annotations

from collections.abc import Iterator

from gunicorn_backlog import __version__
from gunicorn_backlog.cli.check import agent
from gunicorn_backlog.cli.check.config import class_finding
from gunicorn_backlog.cli.check.findings import Finding, failed, ok, warning
from gunicorn_backlog.cli.check.kernel import RAISE
from gunicorn_backlog.cli.inspect import namespaces
from gunicorn_backlog.cli.inspect.discovery import Server, first_pids
from gunicorn_backlog.cli.inspect.snapshot import Listener, Snapshot
from gunicorn_backlog.config.agent_address import DISABLED, is_local, parse
from gunicorn_backlog.kernel.accept_queue import reason
from gunicorn_backlog.kernel.somaxconn import somaxconn
from gunicorn_backlog.sampling.limits import cause
from gunicorn_backlog.scoreboard.server_info import ServerInfo
from gunicorn_backlog.scoreboard.slot import Kind

_POST_WORKER_INIT = (
    "if the config has a post_worker_init of its own, let it end with "
    "gunicorn_backlog.hooks.install(globals()), which keeps both"
)
_IN_ITS_CONTAINER = "run this in the server's container"


def findings(look: Snapshot) -> Iterator[Finding]:
    """Yield what is found of a server. Raises EndedError."""
    about = look.server_info
    yield ok("server", f"{about.app}, pid {look.server.pid}, gunicorn {about.gunicorn}")
    if about.version != __version__:
        text = f"the server runs gunicorn_backlog {about.version}, this is {__version__}"
        yield warning("versions", text, "restart the server, or run its own gunicorn-backlog")
    if not about.enabled:
        yield failed("settings", "enabled is False: the hooks do nothing", "set enabled=True")
        return
    yield _hook_finding(look)
    yield _class_finding(look)
    for listener in look.listeners:
        yield _listener_finding(listener, about, look.server)
    yield _agent_finding(look)
    for text in about.warnings:
        yield warning("server's log", text, "see its log")


def _hook_finding(look: Snapshot) -> Finding:
    if not look.workers:
        return warning("hooks", "it has no workers that could report", "see its log")
    unknown = [it for it in look.workers if it.state == "unknown"]
    missing = [it.pid for it in unknown if it.kind is None]
    if missing:
        text = (
            f"post_worker_init does not reach us in {len(missing)} workers ({first_pids(missing)})"
        )
        return failed("hooks", text, _POST_WORKER_INIT)
    unwatched = [it.pid for it in unknown if it.kind == Kind.FAILED]
    if unwatched:
        text = (
            f"{len(unwatched)} workers report that they could not be watched "
            f"({first_pids(unwatched)}): their states are not known"
        )
        return warning("hooks", text, "see the lines of these workers in the server's log")
    starting = [it for it in look.workers if it.state == "starting"]
    if starting:
        text = f"{len(starting)} of {len(look.workers)} workers have not reported yet"
        limit = (
            f"if that lasts longer than {look.server_info.boot_limit_s:g} s: {_POST_WORKER_INIT}"
        )
        return warning("hooks", text, limit)
    return ok("hooks", f"all {len(look.workers)} workers report")


def _class_finding(look: Snapshot) -> Finding:
    return class_finding(look.server_info.worker_class, look.server_info.kind)


def _listener_finding(seen: Listener, about: ServerInfo, server: Server) -> Finding:
    backlog, worker_class = about.backlog, about.worker_class
    latest = seen.latest
    if latest.why:
        text = f"{latest.listener} can't be read from here: {latest.why}"
        return warning("listener", text, latest.remedy or f"{_IN_ITS_CONTAINER}, or as root")
    limit = latest.limit if latest.min_limit is None else latest.min_limit
    if limit is None:
        return ok("listener", f"{latest.listener}: {latest.length} wait, the limit is not known")
    if limit >= backlog:
        return ok(
            "listener", f"{latest.listener}: {latest.length} wait, the limit is {latest.limit}"
        )
    greatest = _somaxconn(latest.listener, about, server)
    text = f"{latest.listener}: gunicorn asks for {backlog}, the kernel enforces {limit}"
    why = RAISE if limit == greatest else cause(limit, greatest, worker_class)
    return warning("backlog", text, why)


def _somaxconn(listener: str, about: ServerInfo, server: Server) -> int | None:
    """Return net.core.somaxconn of a listener's network namespace; None if it is not known."""
    if any(it.length is not None for it in about.listeners if it.listener == listener):
        return None  # the server published what it read, since netlink does not find it there
    try:
        with namespaces.network_of(server.pid):
            return somaxconn()
    except OSError:  # it has ended, or we may not, though a moment ago we might
        server.check_alive()
        return None


def _agent_finding(look: Snapshot) -> Finding:
    try:
        found = _tried(look)
    except OSError as error:
        look.server.check_alive()
        text = f"not tried: the server is in another network namespace ({reason(error)})"
        found = warning("Agent", text, _IN_ITS_CONTAINER)
    except ValueError:
        found = warning(
            "Agent", f"{look.server_info.agent!r} is no address", "see the server's log"
        )
    agent_error = look.server_info.agent_error
    if agent_error and found.level == 0:
        text = f"the server's latest push to {look.server_info.agent} met {agent_error}"
        return warning("Agent", text, "try again; see the server's log")
    return found


def _tried(look: Snapshot) -> Finding:
    """Try the Agent as the server does, unless its address has another meaning there than here.

    Raises OSError, and ValueError: it is no address.
    """
    about, pid = look.server_info, look.server.pid
    disabled = about.agent_error == DISABLED
    address = parse(about.agent)
    by_files = address.scheme != "udp" or not is_local(address)  # a path, or resolv.conf and hosts
    if by_files and not disabled and not namespaces.is_ours(pid, "mnt"):
        said = about.agent_error and f"; its latest push met {about.agent_error}"
        text = f"{address} not tried: the server has other files, in another mount namespace{said}"
        return warning("Agent", text, _IN_ITS_CONTAINER)
    with namespaces.network_of(pid):
        return agent.finding(about.agent, disabled=disabled)
