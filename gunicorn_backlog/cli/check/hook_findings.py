"""One finding for each of our hooks: its reach in a config, and the remedy."""

from __future__ import annotations

from collections.abc import Iterator

from gunicorn_backlog.cli.check.findings import Finding, failed, ok, warning
from gunicorn_backlog.cli.check.gunicorn_config import GunicornConfig, Hook, Reach

_NEEDED = ("when_ready", "post_worker_init")
_INSTALL = (
    "let the config end with: from gunicorn_backlog import hooks; hooks.install(globals()), which "
    "keeps both"
)
_IMPORT = "from gunicorn_backlog.hooks import * in gunicorn.conf.py"
_OK = {
    Reach.OURS: "{hook} is ours",
    Reach.INSTALLED: "{hook} is the config's own and ours: hooks.install() keeps both",
    Reach.CALLS_OURS: "{hook} is the config's own{in_line}, and calls ours",
}
_WRONG = {
    Reach.REPLACES: "{hook} of the config{in_line} is replaced by the import of ours in line "
    "{our_line}",
    Reach.REBOUND: "{hook} is bound again{in_line}, after line {our_line} binds ours: ours never "
    "runs",
    Reach.OTHER: "{hook} is the config's own{in_line}, and does not call ours",
    Reach.MISSING: "{hook} is missing: the config has none",
}
_UNCERTAIN = {
    Reach.MAY_REPLACE: "{hook} of the config{in_line}, if that line is run, is replaced by the "
    "import of ours in line {our_line}",
    Reach.MAY_HIDE: "{hook} is ours, and may replace the config's own{in_line}: the source does "
    "not show where ours is bound",
    Reach.UNSEEN: "{hook} is the config's own{in_line}; whether it calls ours is unknown",
}


def findings(config: GunicornConfig) -> Iterator[Finding]:
    """Yield a finding for each of our hooks, and one if the config's source could not be read."""
    for name, hook in config.hooks.items():
        yield _hook_finding(name, hook)
    if config.unread:
        text = f"{config.unread}; a hook of the config that ours replaces can't be found"
        yield warning("hooks", text, _INSTALL)


def _hook_finding(name: str, hook: Hook) -> Finding:
    in_line = f" (line {hook.own_line})" if hook.own_line else ""
    words = {"hook": name, "in_line": in_line, "our_line": hook.our_line}
    if hook.reach in _OK:
        return ok("hooks", _OK[hook.reach].format(**words))
    if hook.reach in _UNCERTAIN:
        return warning("hooks", _UNCERTAIN[hook.reach].format(**words), _INSTALL)
    # Without on_exit only the last push is lost; a lost hook of the config may do anything.
    level = failed if name in _NEEDED or hook.reach == Reach.REPLACES else warning
    remedy = _IMPORT if hook.reach == Reach.MISSING else _INSTALL
    return level("hooks", _WRONG[hook.reach].format(**words), remedy)
