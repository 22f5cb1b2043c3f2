"""Runs the checks and prints their findings."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from gunicorn_backlog.cli.check import agent, config, kernel, server
from gunicorn_backlog.cli.check.config import GunicornConfig
from gunicorn_backlog.cli.check.findings import Finding, Level, failed, lines, warning
from gunicorn_backlog.cli.errors import InspectError
from gunicorn_backlog.cli.inspect import discovery, procfs, unhooked
from gunicorn_backlog.cli.inspect.discovery import Found, Server
from gunicorn_backlog.cli.inspect.snapshot import take_snapshot
from gunicorn_backlog.config import settings
from gunicorn_backlog.config.agent_address import is_disabled

SNAPSHOT_S = 0.5
DEFAULT_BACKLOG = 2048  # gunicorn's
_UNHOOKED = (
    "gunicorn runs here as pid {} and is not monitored: our when_ready never ran (embedded "
    "gunicorn reads no config), or enabled is False"
)
_UNHOOKED_REMEDY = (
    "add our hooks to its config, or call hooks.install(options) in the program that embeds "
    "gunicorn; then restart gunicorn"
)
# Prefix of findings on a config from GUNICORN_CMD_ARGS: embedded gunicorn ignores the variable.
_UNLESS_EMBEDDED = "if the server is gunicorn's own command: "
_INSPECT_REMEDY = "run the server's own gunicorn-backlog, where it runs, as its user or root"


def check(pid: int | None, arguments: Sequence[str]) -> int:
    """Run all checks, print the findings, and return the exit code: the worst finding's level.

    :param pid: of an arbiter or worker; only this server is checked. None: all servers.
    :param arguments: gunicorn's own arguments, which name its config.
    """
    worst = Level.OK
    for finding in _findings(pid, arguments):
        print("\n".join(lines(finding)), flush=True)
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
    yield from kernel.findings(
        read.backlog if isinstance(read, GunicornConfig) else DEFAULT_BACKLOG
    )
    if read is not None:
        yield from _config_findings(read, "" if arguments else _UNLESS_EMBEDDED)
    elif usable and alone:
        yield from _environment_findings()
    yield from _unhooked_findings(pid, found)
    if found.hidden:
        text = f"processes of other users may be servers: {discovery.first_pids(found.hidden)}"
        yield warning("server", text, discovery.access_remedy(found.hidden))
    yield from _server_findings(found.servers)


def _found(pid: int | None) -> Found:
    """Return all servers, or the one with that pid; errors are part of the result."""
    try:
        if pid is None:
            return discovery.find_servers()
        return Found([discovery.find_server(pid)], [], [])
    except InspectError as error:
        return Found([], [str(error)], [])


def _config_findings(read: GunicornConfig | str, condition: str) -> Iterator[Finding]:
    """Yield the findings on a config, or on the reason why it can't be read."""
    if isinstance(read, str):
        yield failed("config", f"{condition}gunicorn can't read it: {read}", "correct the config")
        return
    for finding in read.findings:
        yield finding._replace(text=f"{condition}{finding.text}")
    yield agent.finding(read.agent, disabled=read.disabled)


def _unhooked_findings(pid: int | None, found: Found) -> Iterator[Finding]:
    """Yield the errors of the search, and the gunicorns in which our hooks did not run."""
    masters = unhooked.masters() if procfs.exists() else []
    if pid is not None and masters:
        master = None if found.servers else procfs.ancestor(pid, masters)
        masters = [] if master is None else [master]
    if pid is None or not masters:
        for error in found.errors:
            yield warning("server", error, _INSPECT_REMEDY)
    for master in masters:
        yield warning("server", _UNHOOKED.format(master), _UNHOOKED_REMEDY)


def _server_findings(servers: Sequence[Server]) -> Iterator[Finding]:
    """Yield the findings on each server; a server that can't be inspected is a warning."""
    for found in servers:
        try:
            yield from server.findings(take_snapshot(found, SNAPSHOT_S))
        except InspectError as error:
            yield warning("server", str(error), "try again")


def _environment_findings() -> Iterator[Finding]:
    """Yield the findings on the environment, without a server and without a config."""
    from gunicorn.config import Config  # an unsupported gunicorn may fail here

    try:
        loaded = settings.load(Config(), {}, os.environ)
    except settings.ConfigError as error:
        yield failed(
            "settings", str(error).removeprefix("gunicorn_backlog: "), "correct the setting"
        )
        return
    yield from config.unusable_findings(loaded.unusable)
    yield agent.finding(str(loaded.address), disabled=is_disabled(os.environ))
    text = "none is found, and no config is given: hooks and worker class are unknown"
    remedy = "pass gunicorn's arguments: gunicorn-backlog check -- --config FILE app:app"
    yield warning("server", text, remedy)
