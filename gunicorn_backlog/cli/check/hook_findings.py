"""Findings about our hooks in a config, each with its remedy."""

from __future__ import annotations

from collections.abc import Iterator

from gunicorn_backlog.cli.check.findings import Finding, failed, ok, warning
from gunicorn_backlog.cli.check.gunicorn_config import (
    CALLS_OURS,
    INSTALLED,
    MAY_REPLACE,
    MISSING,
    OTHER,
    OURS,
    REBOUND,
    REPLACES,
    UNSEEN,
    GunicornConfig,
    Hook,
)

_NEEDED = ("when_ready", "post_worker_init")
_INSTALL = (
    "let the config end with: from gunicorn_backlog import hooks; hooks.install(globals()), which "
    "keeps both"
)
_IMPORT = "from gunicorn_backlog.hooks import * in gunicorn.conf.py"
_WELL = {
    OURS: "{hook} is ours",
    INSTALLED: "{hook} is the config's own and ours: hooks.install() keeps both",
    CALLS_OURS: "{hook} is the config's own{in_line}, and calls ours",
}
_WRONG = {
    REPLACES: "{hook} of the config{in_line} is replaced by the import of ours in line {our_line}",
    REBOUND: "{hook} is bound again{in_line}, after line {our_line} binds ours: ours never runs",
    OTHER: "{hook} is the config's own{in_line}, and does not call ours",
    MISSING: "{hook} does not reach us: the config has none",
}
_UNCERTAIN = {
    MAY_REPLACE: "{hook} of the config{in_line}, if that line is run, is replaced by the import of "
    "ours in line {our_line}",
    UNSEEN: "{hook} is the config's own{in_line}; whether it calls ours can't be seen",
}


def findings(config: GunicornConfig) -> Iterator[Finding]:
    """Yield one for each of our hooks, and one if the source of the config could not be read."""
    for name, hook in config.hooks.items():
        yield _of(name, hook)
    if config.unread:
        text = f"{config.unread}; a hook of its own that ours replaces can't be seen"
        yield warning("hooks", text, _INSTALL)


def _of(name: str, hook: Hook) -> Finding:
    in_line = f" (line {hook.own_line})" if hook.own_line else ""
    words = {"hook": name, "in_line": in_line, "our_line": hook.our_line}
    if hook.how in _WELL:
        return ok("hooks", _WELL[hook.how].format(**words))
    if hook.how in _UNCERTAIN:
        return warning("hooks", _UNCERTAIN[hook.how].format(**words), _INSTALL)
    # Without on_exit all is pushed but the last push; a lost hook of the user's may do anything.
    how = failed if name in _NEEDED or hook.how == REPLACES else warning
    remedy = _IMPORT if hook.how == MISSING else _INSTALL
    return how("hooks", _WRONG[hook.how].format(**words), remedy)
