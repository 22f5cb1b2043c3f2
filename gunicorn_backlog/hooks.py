"""gunicorn's entry points: ``from gunicorn_backlog.hooks import *`` in ``gunicorn.conf.py``.

A config with hooks of its own ends with ``hooks.install(globals())``, which preserves its hooks.

gunicorn also accepts this module as a config: ``--config python:gunicorn_backlog.hooks``. gunicorn
then applies each name of this module that is also a setting's name. Therefore only the three hooks
have a setting's name; imports have private names.
"""

from __future__ import annotations

import functools as _functools
import os as _os
from collections.abc import Callable as _Callable
from collections.abc import Iterator as _Iterator
from collections.abc import MutableMapping as _MutableMapping
from contextlib import suppress as _suppress
from typing import TYPE_CHECKING
from typing import Any as _Any
from typing import TypeVar as _TypeVar

from gunicorn_backlog import _gunicorn
from gunicorn_backlog.config import settings as _settings
from gunicorn_backlog.config.configure import configured as _configured
from gunicorn_backlog.log import OnceLogger as _OnceLogger

if TYPE_CHECKING:
    from gunicorn_backlog._gunicorn import Arbiter as _Arbiter
    from gunicorn_backlog._gunicorn import Worker as _Worker
    from gunicorn_backlog.arbiter.monitor import Monitor as _Monitor

__all__ = ["on_exit", "post_worker_init", "when_ready"]

_M = _TypeVar("_M", bound=_MutableMapping[str, _Any])

_INSTALL = "end the config with gunicorn_backlog.hooks.install(globals()) and restart gunicorn"

_settings.check({}, _os.environ)

_logger = _OnceLogger()
_monitor: _Monitor | None = None
_was_ready = False
_was_installed = False
_forks = 0  # by this process since the import of this module, or since the first install()


def _before_fork() -> None:
    global _forks
    _forks += 1


_os.register_at_fork(before=_before_fork, after_in_child=_logger.after_fork_in_child)


@_gunicorn.is_ours
def when_ready(server: _Arbiter) -> None:
    """Start the monitor of this arbiter, once. Raises only ConfigError."""
    global _monitor, _was_ready
    if _was_ready:
        return
    _was_ready = True
    try:
        from gunicorn_backlog.arbiter.monitor import Monitor

        _logger.attach(_gunicorn.logger(server))
        _logger.defer()
        _gunicorn.before_each(server, "manage_workers", lambda *_, **__: _logger.flush())
        _monitor = Monitor(server, _logger)
        _monitor.start()
    except Exception as error:
        _logger.exception("starting", error)
    finally:
        _logger.flush()


@_gunicorn.is_ours
def post_worker_init(worker: _Worker) -> None:
    """Instrument this worker, in its own process. Raises nothing."""
    try:
        if _monitor is not None:
            _monitor.instrument_worker(worker)
        elif not _was_ready:
            _warn_of_missing_when_ready(worker)
    except Exception as error:
        # Each worker of a broken class fails. The arbiter logs a line of its own after the first.
        if not _logger.was_logged("not instrumented"):
            _logger.exception("instrumenting this worker", error)


@_gunicorn.is_ours
def on_exit(server: _Arbiter) -> None:
    """Stop the monitor after a last push. Returns within 0.1 s. Raises nothing."""
    try:
        if _monitor is not None:
            _monitor.stop()
    except Exception as error:
        _logger.exception("stopping", error)
    finally:
        _logger.flush()


def install(mapping: _M) -> _M:
    """Add the three hooks to a mapping of gunicorn settings, and return the mapping.

    An existing hook runs before the added one. The added ``on_exit`` also runs if the existing one
    raises. A second call changes nothing.

    :param mapping: the ``globals()`` of a config file, in its last line; or the options of a
        ``BaseApplication``. An existing hook is a callable or an import string such as
        ``"package.module.function"``. None counts as absent. Any other value is kept: gunicorn
        reports the error. An import string that cannot be imported yet is also kept, without ours.

    Raises ConfigError if ``mapping`` is no mutable mapping.
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
        _was_installed, _forks = True, 0  # a reload may add install(): then count from here
    return mapping


def _with(ours: _Callable[[_Any], None], existing: _Any) -> _Any:
    """Return a hook that runs the existing hook, and then ours."""
    if existing is None:
        return ours
    function = _gunicorn.callable_of(existing)
    if function is None or _gunicorn.has_ours(function):
        return existing

    # gunicorn validates the number of a hook's arguments by its signature; wraps() preserves it.
    @_gunicorn.is_ours
    @_functools.wraps(function, assigned=list(_text_attributes(function)), updated=())
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


def _text_attributes(hook: object) -> _Iterator[str]:
    """Yield the names of a hook's attributes that a function can have: the name, the docstring.

    gunicorn accepts any callable object, but Python requires strings as a function's attributes.
    """
    for name in _functools.WRAPPER_ASSIGNMENTS:
        with _suppress(Exception):  # any error of an object's own __getattr__
            if isinstance(getattr(hook, name), str):
                yield name


def _warn_of_missing_when_ready(worker: _Worker) -> None:
    """Log that ``when_ready`` did not run, only in the first worker since the config was loaded."""
    if worker.age != 1 and _forks != 1:
        return
    with _suppress(_settings.ConfigError):  # a bad setting must not stop a worker
        if not _settings.merged(_configured.values, _os.environ)["enabled"]:
            return
    _logger.attach(_gunicorn.logger(worker))
    text = (
        f"when_ready was not called: nothing is pushed. To keep a hook of your own, {_INSTALL}"
        if worker.age == 1
        else "the hooks were added by a reload, and gunicorn calls when_ready only when it starts: "
        "nothing is pushed until gunicorn is restarted"
    )
    _logger.warn("when_ready", text)
