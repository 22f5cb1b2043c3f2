"""Loads the settings at startup and after each HUP, and puts them in force.

gunicorn has no hook for a HUP. A HUP sets ``arbiter.cfg`` to a new object. This object is compared
with the config that was loaded last:

1. before each fork, in the main thread (``Monitor._before_fork``). A HUP forks its workers when the
   new config is in force with its ``raw_env``, and before another config can be loaded. At a fork
   the environment and the values of ``configure()`` therefore belong to ``arbiter.cfg``;
2. before each sample, in our thread (``Monitor._loop``), once the config is
   RELOAD_WITHOUT_FORK_S old. This covers a server without workers, and a fork that did not get the
   gate. Earlier, gunicorn may still be applying the config.

Both call ``Monitor._reload`` with the fork gate held:

- ``Monitor._reload`` calls ``Reloader.reload``, and starts a thread if none runs;
- ``Reloader.reload`` calls ``load`` for the settings, then ``apply``;
- ``apply`` calls ``Pipeline.apply_settings``.

An exception in ``apply`` is logged. The config counts as loaded: only the next HUP tries again.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from gunicorn_backlog import _gunicorn
from gunicorn_backlog.arbiter.startup_line import SWITCHED_OFF, startup_line
from gunicorn_backlog.config.configure import configured
from gunicorn_backlog.config.settings import ConfigError, Settings, load
from gunicorn_backlog.log import OnceLogger, log_errors
from gunicorn_backlog.metrics import own_metric

if TYPE_CHECKING:
    from gunicorn_backlog._gunicorn import Arbiter, Config, Hooks
    from gunicorn_backlog.arbiter.pipeline import Pipeline

_RUNNING, _HOOKS_REMOVED = "running", "hooks removed"  # keys of log lines
# gunicorn may import a preloaded app between the new config and the first fork.
RELOAD_WITHOUT_FORK_S = 10.0


class Reloader:
    """Applies the settings of the arbiter's config to the pipeline, and logs the changes."""

    def __init__(self, arbiter: Arbiter, pipeline: Pipeline, logger: OnceLogger) -> None:
        self._arbiter = arbiter
        self._pipeline = pipeline
        self._logger = logger
        self._cfg: Config | None = None  # loaded last, with or without an error
        self._hooks: Hooks | None = None  # of the config that was loaded last
        self._hooks_removed = False
        self._waiting: Config | None = None  # for a fork that applies it
        self._overdue_at_s = 0.0

    def load(self) -> Settings:
        """Return the settings of the arbiter's config and the environment. Raises ConfigError.

        After another exception, for example of a signal handler, the config counts as not loaded.
        """
        cfg = self._arbiter.cfg
        try:
            settings = load(cfg, configured.values)
        except ConfigError:
            self._note_loaded(cfg)
            raise
        self._note_loaded(cfg)
        return settings

    def _note_loaded(self, cfg: Config) -> None:
        configured.mark_loaded()
        self._cfg, self._waiting = cfg, None
        former, self._hooks = self._hooks, _gunicorn.hooks_of(cfg)
        self._hooks_removed = self._were_removed(former, self._hooks)

    def is_outdated(self) -> bool:
        """Return whether gunicorn has a config that was not loaded yet."""
        return self._arbiter.cfg is not self._cfg

    def is_overdue(self) -> bool:
        """Return whether a config is outdated for RELOAD_WITHOUT_FORK_S, since the first call."""
        # is_outdated() inlined: with the cold caches after a sleep each call takes microseconds.
        if self._arbiter.cfg is self._cfg:
            return False
        if self._arbiter.cfg is not self._waiting:
            self._waiting = self._arbiter.cfg
            self._overdue_at_s = time.monotonic() + RELOAD_WITHOUT_FORK_S
        return time.monotonic() >= self._overdue_at_s

    def reload(self, forked: int, *, restart: bool) -> bool:
        """Apply the settings of a new config; return whether new, valid settings are in force.

        :param forked: workers that were forked before, under the former settings.
        :param restart: no thread runs: there are no samples to continue from.
        """
        if not self.is_outdated():
            return False
        self._logger.reloaded()
        self._logger.reset("config")
        settings = self._load_again()
        if settings is not None:
            self.apply(settings, forked, restart=restart)
        return settings is not None

    def apply(self, settings: Settings, forked: int, *, restart: bool) -> None:
        """Put the settings in force; the parameters are those of ``reload``."""
        unusable = [f"{each}; ignored" for each in settings.unusable]
        self._logger.warn_each("unusable", unusable)
        if not self._hooks_removed:
            self._logger.reset(_HOOKS_REMOVED)
        if settings.enabled:
            self._warn_of_own_metric(settings)
        elif not self._hooks_removed:
            self._logger.inform(_RUNNING, SWITCHED_OFF)
        pipeline = self._pipeline
        pipeline.apply_settings(settings, forked, restart=restart)
        log_errors(self._logger, "publishing the server info", pipeline.publish_server_info)
        if settings.enabled:
            log_errors(self._logger, "logging the startup line", self._announce)

    def _load_again(self) -> Settings | None:
        """Return the new settings, disabled if the hooks were removed; None if invalid."""
        try:
            settings = self.load()
        except ConfigError as error:
            reason = str(error).removeprefix("gunicorn_backlog: ")
            text = f"{reason}; the former settings stay in force"
            self._logger.warn("config", text, until_reset=True)
            return None
        if not self._hooks_removed:
            return settings
        if self._pipeline.settings.enabled:
            self._warn_of_removed_hooks()
        return settings._replace(enabled=False)

    def _were_removed(self, former: Hooks | None, hooks: Hooks) -> bool:
        """Return whether a reload removed the hooks, and none has added them since.

        A hook of the user's own may call ours; gunicorn's default ``post_worker_init`` does not. If
        a config never had a hook, the server itself calls ours.
        """
        if former is None or hooks.has_ours or not hooks.post_worker_init_is_default:
            return False
        lost_when_ready = hooks.when_ready_is_default and not former.when_ready_is_default
        return self._hooks_removed or former.has_ours or lost_when_ready

    def _warn_of_removed_hooks(self) -> None:
        self._logger.warn(
            _HOOKS_REMOVED,
            "a reload removed the hooks from the config: nothing is pushed until a reload "
            "finds them again",
            until_reset=True,
        )
        self._logger.reset(_RUNNING)  # logged again with the hooks

    def _warn_of_own_metric(self, settings: Settings) -> None:
        clashes = "backlog" in settings.metrics and _gunicorn.pushes_backlog(self._arbiter.cfg)
        texts = [f"{own_metric.clash(settings.backlog_type)}; {own_metric.REMEDY}"]
        self._logger.warn_each("own metric", texts if clashes else [])

    def _announce(self) -> None:
        """Log the startup line; after a reload only if the line has changed."""
        server_info = self._pipeline.server_info()
        if server_info is not None:
            groups = self._pipeline.settings.metrics
            line = startup_line(server_info, self._arbiter.cfg.workers, groups)
            self._logger.inform(_RUNNING, line)
