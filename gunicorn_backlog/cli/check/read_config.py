"""Reads gunicorn's config as gunicorn does: in a process of its own, since the file is run.

``main`` takes ``FD [GUNICORN'S ARGUMENTS]`` and writes a ``GunicornConfig`` to that descriptor, as
JSON.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from typing import Any

from gunicorn import version_info
from gunicorn.app.base import Application

from gunicorn_backlog import _gunicorn
from gunicorn_backlog.cli.check import reached
from gunicorn_backlog.cli.check.config import (
    GunicornConfig,
    class_finding,
    reuse_port_findings,
    unusable_findings,
)
from gunicorn_backlog.cli.check.findings import Finding, failed, warning
from gunicorn_backlog.cli.check.reached import Source
from gunicorn_backlog.config import settings
from gunicorn_backlog.config.agent_address import is_disabled
from gunicorn_backlog.config.configure import configured
from gunicorn_backlog.config.settings import Settings
from gunicorn_backlog.kernel.tcp_migrate_req import migrates
from gunicorn_backlog.metrics import own_metric
from gunicorn_backlog.sampling.limits import LISTENS_WITH
from gunicorn_backlog.scoreboard.kind import Kind
from gunicorn_backlog.workers import registry


class _ConfigApplication(Application):  # type: ignore[misc]  # gunicorn has no types
    """gunicorn's application without an app; ``source``: of its config, None without a config."""

    source: Source | None = None

    def init(self, parser: object, opts: object, args: object) -> None:
        """Ignore the app's name."""

    def load_config_from_module_name_or_filename(self, location: str) -> object:
        """Run the config, and read its source by an absolute path: the config may chdir."""
        path = location if location.startswith("python:") else _absolute(location)
        config = super().load_config_from_module_name_or_filename(location)
        self.source = Source(path)
        return config


def _absolute(location: str) -> str:
    return os.path.abspath(location.removeprefix("file:"))


def main() -> None:
    """Read the config and write the result."""
    fd, pid = int(sys.argv[1]), os.getpid()
    sys.argv = ["gunicorn", *sys.argv[2:]]
    app = _ConfigApplication("%(prog)s [OPTIONS] [APP_MODULE]")
    config = read(app.cfg, app.source)
    if os.getpid() != pid:  # the config forked: this is the child
        return
    with os.fdopen(fd, "w") as out:
        json.dump(config._asdict(), out)


def read(cfg: Any, source: Source | None) -> GunicornConfig:
    """Return the parts of gunicorn's config that ``check`` reports on. Raises ConfigError.

    Applies ``pythonpath`` and ``raw_env`` first, as gunicorn does.
    """
    _insert_paths(cfg.pythonpath)
    os.environ.update(cfg.env)
    loaded = settings.load(cfg, configured.values)
    found = list(_findings(cfg, loaded, source))
    return GunicornConfig(cfg.backlog, str(loaded.address), is_disabled(os.environ), found)


def _findings(cfg: Any, loaded: Settings, source: Source | None) -> Iterator[Finding]:
    """Yield the findings on settings, hooks and worker class."""
    if not loaded.enabled:
        yield failed("settings", "enabled is False: the hooks do nothing", "set enabled=True")
    yield from unusable_findings(loaded.unusable)
    yield from reached.findings(cfg, source)
    if "backlog" in loaded.metrics and _gunicorn.pushes_backlog(cfg):
        yield warning("metrics", own_metric.clash(loaded.backlog_type), own_metric.REMEDY)
    own_queues = cfg.reuse_port, cfg.max_requests, version_info
    yield from reuse_port_findings(*own_queues, migrates=migrates())
    yield class_finding(cfg.worker_class_str, *_kind(cfg))
    listens = LISTENS_WITH.get(cfg.worker_class_str)
    if listens is not None and listens.backlog < cfg.backlog:
        text = f"{listens.worker} makes asyncio listen with {listens.backlog}, not {cfg.backlog}"
        yield warning("backlog", text, f"plan for a limit of {listens.backlog}")


def _insert_paths(folders: str | None) -> None:
    """Insert the folders, separated by commas, at the front of the path; the last comes first."""
    for folder in map(os.path.abspath, folders.split(",") if folders else ()):
        if folder not in sys.path:
            sys.path.insert(0, folder)


def _kind(cfg: Any) -> tuple[int | None, str]:
    try:
        family = registry.family_of(cfg.worker_class)
    except Exception as error:  # any error of an imported module
        first, *_, last = (str(error).strip() or type(error).__name__).splitlines() * 2
        return None, first if first == last else f"{first.strip()} {last.strip('[] ')}"
    return int(Kind.UNKNOWN if family is None else family.kind), ""
