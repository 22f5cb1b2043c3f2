"""gunicorn's entry points: ``from gunicorn_backlog.hooks import *`` in ``gunicorn.conf.py``.

A config with hooks of its own ends with ``hooks.install(globals())``, which keeps them. gunicorn
also accepts this module as a config file (``--config python:gunicorn_backlog.hooks``) and then
applies every name in it that is a setting's. Therefore only the three hooks may have such a name.
"""

from __future__ import annotations

import functools as _functools
import os as _os
from collections.abc import Callable as _Callable
from collections.abc import MutableMapping as _MutableMapping
from contextlib import suppress as _suppress
from typing import TYPE_CHECKING
from typing import Any as _Any
from typing import TypeVar as _TypeVar

from gunicorn_backlog import _gunicorn
from gunicorn_backlog.config import settings as _settings
from gunicorn_backlog.config.configure import configured as _configured
from gunicorn_backlog.log import OnceLogger as _Notices

if TYPE_CHECKING:
    from gunicorn_backlog._gunicorn import Arbiter as _Arbiter
    from gunicorn_backlog._gunicorn import Worker as _Worker
    from gunicorn_backlog.arbiter.monitor import Monitor as _Monitor

__all__ = ["on_exit", "post_worker_init", "when_ready"]

_M = _TypeVar("_M", bound=_MutableMapping[str, _Any])

_INSTALL = "end the config with gunicorn_backlog.hooks.install(globals()) and restart gunicorn"

_settings.check({}, _os.environ)

_notices = _Notices()
_monitor: _Monitor | None = None
_was_ready = False
_was_installed = False
_forks = 0  # of this process since the import of this module, or since the first install()


def _before_fork() -> None:
    global _forks
    _forks += 1


_os.register_at_fork(before=_before_fork, after_in_child=_notices.after_fork_in_child)


@_gunicorn.is_ours
def when_ready(server: _Arbiter) -> None:
    """Start the monitor of this server. Raises ConfigError, and nothing else."""
    global _monitor, _was_ready
    if _was_ready:
        return
    _was_ready = True
    try:
        from gunicorn_backlog.arbiter.monitor import Monitor

        _notices.attach(_gunicorn.logger(server))
        _notices.defer()
        _gunicorn.at_each_turn(server, _notices.flush)
        _monitor = Monitor(server, _notices)
        _monitor.start()
    except Exception as error:
        _notices.exception("starting", error)
    finally:
        _notices.flush()


@_gunicorn.is_ours
def post_worker_init(worker: _Worker) -> None:
    """Instrument this worker. Raises nothing."""
    try:
        if _monitor is not None:
            _monitor.instrument_worker(worker)
        elif not _was_ready:
            _warn_that_nothing_is_pushed(worker)
    except Exception as error:
        if not _notices.was_logged("unwatched"):  # by the arbiter, of a worker before this one
            _notices.exception("watching this worker", error)


@_gunicorn.is_ours
def on_exit(server: _Arbiter) -> None:
    """Push a last time; returns within 0.1 s. Raises nothing."""
    try:
        if _monitor is not None:
            _monitor.stop()
    except Exception as error:
        _notices.exception("stopping", error)
    finally:
        _notices.flush()


def install(mapping: _M) -> _M:
    """Add the three hooks to gunicorn settings, and return these.

    An existing hook runs first, ours second; ``on_exit`` runs ours even if the existing one raises.
    A second call changes nothing.

    :param mapping: the ``globals()`` of a config file, in its last line; or the options of a
        ``BaseApplication``. A hook in it may be whatever gunicorn accepts: a callable or an import
        string such as ``"package.module.function"``; None counts as absent.

    Raises ConfigError if it is no mutable mapping. A value that gunicorn does not accept stays as
    it is: gunicorn reports it.
    """
    global _was_installed, _forks
    if not isinstance(mapping, _MutableMapping):
        raise _settings.ConfigError(
            f"gunicorn_backlog: hooks.install({_settings.shown(mapping)}); "
            "allowed: globals(), or a dict of gunicorn's settings"
        )
    for ours in (when_ready, post_worker_init, on_exit):
        mapping[ours.__name__] = _with(ours, mapping.get(ours.__name__))
    if not _was_installed:
        _was_installed, _forks = True, 0  # a reload may follow the advice of a former warning
    return mapping


def _with(ours: _Callable[[_Any], None], existing: _Any) -> _Any:
    """Return a hook that runs the existing one, and then ours."""
    if existing is None:
        return ours
    function = _gunicorn.callable_of(existing)
    if function is None or _gunicorn.has_ours(function):
        return existing

    # gunicorn counts the arguments of a hook: wraps() leads it to the existing one's.
    @_gunicorn.is_ours
    @_functools.wraps(function, updated=())
    def both(subject: _Any) -> None:
        if ours is not on_exit:
            function(subject)
            ours(subject)
            return
        try:
            function(subject)
        finally:
            ours(subject)

    return both


def _warn_that_nothing_is_pushed(worker: _Worker) -> None:
    """Warn, in the first worker that was forked since the config was loaded."""
    if worker.age != 1 and _forks != 1:
        return
    with _suppress(_settings.ConfigError):  # that stops the next start, and no worker
        if not _settings.is_enabled(_configured.values, _os.environ):
            return
    _notices.attach(_gunicorn.logger(worker))
    if worker.age == 1:
        text = (
            f"when_ready was not called: nothing is pushed. To keep a hook of your own, {_INSTALL}"
        )
    else:
        text = (
            "the hooks were added by a reload, and gunicorn calls when_ready only when it starts: "
            "nothing is pushed until gunicorn is restarted"
        )
    _notices.warn("when_ready", text)
