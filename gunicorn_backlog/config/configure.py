"""``configure()``: what a config file says, kept until the settings are loaded."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from gunicorn_backlog.config.options import BacklogType
from gunicorn_backlog.config.settings import check, shown

# gunicorn runs a config file under this module name, anew for each HUP; a module that a config
# imports, or ``--config python:module``, is run once for all.
RUN_AGAIN = "__config__"


class Configured:
    """What ``configure()`` was told, by the module that called it."""

    def __init__(self) -> None:
        self._by_module: dict[str, dict[str, object]] = {}
        self.serving = False

    def add(self, module: str, given: Mapping[str, object]) -> None:
        """Note what a module said; what it says later of the same comes in its place."""
        self._by_module.setdefault(module, {}).update(given)

    @property
    def values(self) -> dict[str, object]:
        """All that was said; a config file comes before the modules that it imports."""
        own = self._by_module.get(RUN_AGAIN, {})
        others = [said for module, said in self._by_module.items() if module != RUN_AGAIN]
        merged: dict[str, object] = {}
        for said in (*others, own):
            merged.update(said)
        return merged

    def mark_loaded(self) -> None:
        """Forget what the next run of the config file says again.

        Called once per config that gunicorn loaded, so that a setting which it no longer makes is
        back at its default.
        """
        self._by_module.pop(RUN_AGAIN, None)
        self.serving = True


configured = Configured()


def _configure(*positional: object, **given: object) -> None:
    """Make settings, in ``gunicorn.conf.py``; what is left out, or None, keeps its default.

    :param enabled: False: the hooks do nothing. Default True.
    :param interval: seconds between two pushes, 0.1 to 60. Default 1.
    :param samples: samples of the backlog per interval, 1 to 100. Default 10.
    :param url: the Agent's address: ``udp://host:port``, ``unix:///path``, ``unixgram:///path`` or
        ``unixstream:///path``. Default: what Datadog's variables or gunicorn's ``statsd_host``
        say, else ``udp://localhost:8125``.
    :param tags: ``key:value`` tags for every metric.
    :param backlog_type: ``histogram`` (default), ``distribution`` or ``gauge``: the type of
        ``gunicorn.backlog``.

    Raises ConfigError, which stops gunicorn, while the server starts. On a HUP it raises nothing:
    a server that serves keeps its former settings, and logs what is wrong with the new ones.
    """
    tags = given.get("tags")
    if isinstance(tags, Iterator):
        given["tags"] = list(tags)  # it can be looked at only once
    nameless = {f"{shown(value)} without a name": value for value in positional}
    caller = sys._getframe(1).f_globals.get("__name__", RUN_AGAIN)
    configured.add(caller, given | nameless)
    if not configured.serving:
        check(configured.values, os.environ)


if TYPE_CHECKING:

    def configure(
        *,
        enabled: bool | None = None,
        interval: float | None = None,
        samples: int | None = None,
        url: str | None = None,
        tags: Iterable[str] | None = None,
        backlog_type: BacklogType | None = None,
    ) -> None:
        """Make settings."""

else:
    configure = _configure
    configure.__name__ = configure.__qualname__ = "configure"
