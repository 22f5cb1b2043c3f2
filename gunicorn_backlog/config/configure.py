"""``configure()``: the settings of a config file, stored until gunicorn has loaded the file."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import wraps
from types import ModuleType
from typing import ParamSpec

from gunicorn_backlog.config.options import BacklogType, Group
from gunicorn_backlog.config.settings import check, shown

P = ParamSpec("P")

# The module name under which gunicorn runs a config file, again after each HUP. A module that a
# config imports, and ``--config python:module``, run only once.
CONFIG_MODULE = "__config__"


class Configured:
    """The arguments of all calls of ``configure()``, by the caller's module.

    ``serving``: gunicorn has loaded a config; from then on no call may stop gunicorn.
    """

    def __init__(self) -> None:
        self.serving = False
        self._by_module: dict[str, dict[str, object]] = {}
        self._namespaces: dict[str, Mapping[str, object]] = {}
        self._config_module: ModuleType | None = None  # at the latest call; new for each run

    def add(
        self, module: str, given: Mapping[str, object], *, namespace: Mapping[str, object]
    ) -> None:
        """Store a call's arguments; a later call of the same module overrides an earlier one.

        :param namespace: the caller's globals. A second HUP may run the config file again, in a new
            namespace, before the first HUP's arguments were loaded: these are dropped then.
        """
        if self._namespaces.get(module) is not namespace:
            self._namespaces[module], self._by_module[module] = namespace, {}
        self._by_module[module].update(given)
        if module == CONFIG_MODULE:
            self._config_module = sys.modules.get(CONFIG_MODULE)

    @property
    def values(self) -> dict[str, object]:
        """All arguments by name; the config file takes precedence over the modules it imports."""
        by_module = dict(self._by_module)
        config_file = by_module.pop(CONFIG_MODULE, {})
        merged: dict[str, object] = {}
        for given in by_module.values():
            merged.update(given)
        return merged | (config_file if self._is_latest_run() else {})

    def _is_latest_run(self) -> bool:
        """Return whether gunicorn has not run the config file again since, without configure()."""
        return sys.modules.get(CONFIG_MODULE) is self._config_module

    def mark_loaded(self) -> None:
        """Drop the config file's arguments, after each config that gunicorn loaded.

        The next HUP runs the file again: a setting that is then absent has its default.
        """
        self._by_module.pop(CONFIG_MODULE, None)
        self._namespaces.pop(CONFIG_MODULE, None)
        self._config_module = None
        self.serving = True


configured = Configured()


def _keeps_arguments(signature: Callable[P, None]) -> Callable[P, None]:
    """Return a function with this signature that stores its arguments in ``configured``.

    An unknown name and a positional argument cause a ConfigError, as a bad value does. Python's
    TypeError would print a traceback at the start, and would stop a serving gunicorn at a HUP.
    """

    @wraps(signature)
    def keep(*positional: P.args, **named: P.kwargs) -> None:
        given: dict[str, object] = {f"{shown(arg)} without a name": arg for arg in positional}
        given |= named
        for name, value in named.items():
            if isinstance(value, Iterator):
                given[name] = list(value)  # read twice: by the check here, and by the load
        namespace = sys._getframe(1).f_globals  # gunicorn makes a new one for each run
        configured.add(namespace.get("__name__", CONFIG_MODULE), given, namespace=namespace)
        if not configured.serving:
            check(configured.values, os.environ)

    return keep


@_keeps_arguments
def configure(
    *,
    enabled: bool | None = None,
    interval: float | None = None,
    samples: int | None = None,
    url: str | None = None,
    tags: Iterable[str] | None = None,
    backlog_type: BacklogType | None = None,
    metrics: Iterable[Group] | None = None,
    request_wait: bool | None = None,
) -> None:
    """Set options in ``gunicorn.conf.py``; an argument that is absent or None has its default.

    :param enabled: the hooks do nothing if False. Default True.
    :param interval: seconds between two pushes, 0.1 to 60. Default 1.
    :param samples: samples of the backlog per interval, 1 to 100. Default 10.
    :param url: the Agent's address: ``udp://host:port``, ``unix:///path``, ``unixgram:///path`` or
        ``unixstream:///path``. Default: the address in Datadog's variables or in gunicorn's
        ``statsd_host``, otherwise ``udp://localhost:8125``.
    :param tags: ``key:value`` tags for every metric.
    :param backlog_type: the type of ``gunicorn.backlog``: ``histogram`` (default),
        ``distribution`` or ``gauge``.
    :param metrics: the groups of metrics to push: ``backlog``, ``workers``, ``threads``,
        ``requests``, ``wait``, ``loop``. Default: all. ``gunicorn.is_running`` is always pushed.
    :param request_wait: workers expose each request's wait to the app: ``waited_ms()``,
        ``environ["gunicorn_backlog.waited_ms"]`` and
        ``scope["extensions"]["gunicorn_backlog"]["waited_ms"]``. Default False.

    Raises ConfigError, which stops gunicorn, while gunicorn starts. After a HUP nothing is raised:
    the former settings stay in force, and one log line reports the error.
    """
