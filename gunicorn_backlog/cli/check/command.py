"""Puts the checks together and prints them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from gunicorn_backlog.cli.check import agent, config, kernel, server
from gunicorn_backlog.cli.check.findings import Finding, Level, failed, lines, warning
from gunicorn_backlog.cli.check.gunicorn_config import GunicornConfig
from gunicorn_backlog.cli.errors import InspectError
from gunicorn_backlog.cli.inspect import discovery, procfs, unhooked
from gunicorn_backlog.cli.inspect.discovery import Found, Server
from gunicorn_backlog.cli.inspect.snapshot import take_snapshot
from gunicorn_backlog.config import settings
from gunicorn_backlog.config.agent_address import is_disabled

LOOKED_S = 0.5
DEFAULT_BACKLOG = 2048  # gunicorn's
_UNHOOKED = (
    "gunicorn runs here as pid {} and is not monitored: our when_ready never ran (embedded "
    "gunicorn reads no config), or enabled is False"
)
# Of a config that GUNICORN_CMD_ARGS names: servers that embed gunicorn do not read it.
_UNLESS_EMBEDDED = "if the server is gunicorn's own command: "
_HOOK = (
    "add our hooks to its config, or call hooks.install(options) in what embeds it; then restart it"
)
_LOOK = "run the server's own gunicorn-backlog, where it runs, as its user or root"


def check(pid: int | None, arguments: Sequence[str]) -> int:
    """Check, print, and return the exit code."""
    worst = Level.OK
    for finding in _findings(pid, arguments):
        print("\n".join(lines([finding])), flush=True)
        worst = max(worst, finding.level)
    return int(worst)


def _findings(pid: int | None, arguments: Sequence[str]) -> Iterator[Finding]:
    found = _found(pid)
    versions = list(config.versions())
    yield from versions
    usable = all(version.level == Level.OK for version in versions)
    alone = pid is None and not found.servers
    given = arguments or (alone and os.environ.get("GUNICORN_CMD_ARGS"))
    read = config.read(arguments) if given and usable else None
    backlog = read.backlog if isinstance(read, GunicornConfig) else DEFAULT_BACKLOG
    condition = "" if arguments else _UNLESS_EMBEDDED
    yield from kernel.findings(backlog)
    if isinstance(read, GunicornConfig):
        yield from (it._replace(text=f"{condition}{it.text}") for it in config.findings(read))
        yield agent.finding(read.agent, disabled=read.disabled)
    elif read is not None:
        yield failed("config", f"{condition}gunicorn can't read it: {read}", "correct it")
    elif usable and alone:
        yield from _environment_findings()
    yield from _of_unhooked(pid, found)
    if found.hidden:
        pids = discovery.first_pids(found.hidden)
        text = f"what other users run can't be looked at, and may be servers: {pids}"
        yield warning("server", text, discovery.access_remedy(found.hidden))
    yield from _server_findings(found.servers)


def _found(pid: int | None) -> Found:
    """Return all servers, or the one with that pid; why it can't be looked at is what is wrong."""
    try:
        return (
            discovery.find_servers() if pid is None else Found([discovery.find_server(pid)], [], [])
        )
    except InspectError as error:
        return Found([], [str(error)], [])


def _of_unhooked(pid: int | None, found: Found) -> Iterator[Finding]:
    """Yield the gunicorns in which our hooks did not run, and what else can't be looked at."""
    masters = unhooked.masters() if procfs.exists() else []
    if pid is not None and masters:
        master = None if found.servers else unhooked.master_of(pid)
        masters = [] if master is None else [master]
    if pid is None or not masters:
        for wrong in found.errors:
            yield warning("server", wrong, _LOOK)
    for master in masters:
        yield warning("server", _UNHOOKED.format(master), _HOOK)


def _server_findings(found: Sequence[Server]) -> Iterator[Finding]:
    """Yield what is found of each; what can't be looked at can't be told to be well."""
    for it in found:
        try:
            yield from server.findings(take_snapshot(it, LOOKED_S))
        except InspectError as error:
            yield warning("server", str(error), "try again")


def _environment_findings() -> Iterator[Finding]:
    """Yield what can be told without a server and without a config."""
    from gunicorn.config import Config  # one that is too old may not be there to be imported

    try:
        told = settings.load(Config(), {}, os.environ)
    except settings.ConfigError as error:
        yield failed("settings", str(error).removeprefix("gunicorn_backlog: "), "correct it")
        return
    for text in told.unusable:
        yield warning("settings", f"{text}; passed over", "correct it, or unset it")
    yield agent.finding(str(told.address), disabled=is_disabled(os.environ))
    text = "none is found, and no config is given: hooks and worker class can't be told"
    remedy = "give what gunicorn is started with: gunicorn-backlog check -- --config FILE app:app"
    yield warning("server", text, remedy)
