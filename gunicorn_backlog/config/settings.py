"""The settings in force, from ``configure()``, the environment and gunicorn's own config.

Precedence: ``GUNICORN_BACKLOG_*``, then ``configure()``, then Datadog's ``DD_*``, then gunicorn's
statsd settings. The deployment overrides the file, as ``GUNICORN_CMD_ARGS`` does in gunicorn.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from gunicorn_backlog.config import agent_address, tags
from gunicorn_backlog.config.agent_address import Address
from gunicorn_backlog.config.options import GROUPS, OPTIONS, VARIABLES, BacklogType, Group, Option
from gunicorn_backlog.config.unknown_variables import unknown_variables

if TYPE_CHECKING:
    from gunicorn_backlog._gunicorn import Config

_ILLEGAL_IN_NAME = re.compile(r"[^A-Za-z0-9_.]")
# Characters of a value, of a reason, and of a line: a variable may have 128 KiB.
_VALUE_MAX, _REASON_MAX, _LINE_MAX = 100, 200, 1000
_ILLEGAL_START = re.compile(r"^[^A-Za-z]+")


class ConfigError(SystemExit):
    """An invalid setting: one line with its name, its value and the allowed values.

    ConfigError is a SystemExit because gunicorn prints a traceback for any Exception of a config
    file. A SystemExit ends the start with only its line on stderr, and with exit code 1.
    """


class Settings(NamedTuple):
    """The validated settings with all defaults.

    ``enabled``: False: nothing is pushed, and the hooks do nothing.
    ``interval_s``: seconds between two pushes; ``samples``: samples per interval.
    ``address``: the Agent's address. ``address_from``: the source of the address, as users write
    the source: ``GUNICORN_BACKLOG_URL``, ``configure(url=...)``, one or two of Datadog's
    variables, ``statsd_host``, or ``default``.
    ``tags``: the user's tags. ``inherited_tags``: the tags of ``DD_TAGS``, then those of gunicorn's
    ``dogstatsd_tags``; in order of precedence, the tags of the ``datadog`` client come between.
    ``backlog_type``: the type of ``gunicorn.backlog``.
    ``metrics``: the groups of metrics that are pushed.
    ``request_wait``: workers expose each request's wait to the app.
    ``prefix``: gunicorn's ``statsd_prefix`` for all metric names.
    ``unusable``: one line per ignored setting of Datadog or gunicorn, with the reason.
    """

    enabled: bool = True
    interval_s: float = 1.0
    samples: int = 10
    address: Address = agent_address.DEFAULT
    address_from: str = "default"
    tags: tuple[str, ...] = ()
    inherited_tags: tuple[str, ...] = ()
    prefix: str = ""
    backlog_type: BacklogType = "histogram"
    metrics: tuple[Group, ...] = GROUPS
    request_wait: bool = False
    unusable: tuple[str, ...] = ()

    @property
    def pace(self) -> tuple[float, int, Address]:
        """The settings whose change discards the current interval.

        A new Agent's name may not be resolved when the interval ends.
        """
        return self.interval_s, self.samples, self.address


def check(configured: Mapping[str, object], environ: Mapping[str, str]) -> None:
    """Raise ConfigError for the first bad setting in ``configure()`` or the environment."""
    merged(configured, environ)


def load(
    cfg: Config, configured: Mapping[str, object], environ: Mapping[str, str] = os.environ
) -> Settings:
    """Return the settings from all sources. Raises ConfigError.

    :param cfg: gunicorn's config.
    :param configured: the arguments of ``configure()``.
    """
    options = merged(configured, environ)
    unusable = unknown_variables(environ)
    address, address_from = _address(options["url"], cfg, environ, unusable)
    return Settings(
        enabled=options["enabled"],
        interval_s=options["interval"],
        samples=options["samples"],
        address=address,
        address_from=address_from,
        tags=options["tags"],
        inherited_tags=(*tags.split(environ.get("DD_TAGS", "")), *tags.split(cfg.dogstatsd_tags)),
        prefix=_prefix(cfg.statsd_prefix),
        backlog_type=options["backlog_type"],
        metrics=options["metrics"],
        request_wait=options["request_wait"],
        unusable=tuple(_short(line, _LINE_MAX) for line in unusable),
    )


def merged(configured: Mapping[str, object], environ: Mapping[str, str]) -> dict[str, Any]:
    """Return each option's value from the environment, ``configure()`` or its default.

    Raises ConfigError.
    """
    defaults = {option.name: option.default for option in OPTIONS.values()}
    return defaults | _from_configure(configured) | _from_environment(environ)


def _from_configure(configured: Mapping[str, object]) -> dict[str, object]:
    for name in configured:
        if name not in OPTIONS:
            raise _error(f"configure() has no setting {name!r}", ", ".join(OPTIONS))
    return {
        name: _checked(OPTIONS[name], OPTIONS[name].check, value, name)
        for name, value in configured.items()
        if value is not None
    }


def _from_environment(environ: Mapping[str, str]) -> dict[str, object]:
    return {
        option.name: _checked(option, option.check_text, text, variable)
        for variable, option in VARIABLES.items()
        if (text := environ.get(variable, "").strip())
    }


def _checked(option: Option, check: Callable[[Any], object], value: object, label: str) -> object:
    try:
        return check(value)
    except (ValueError, TypeError, OverflowError) as error:
        reason = _short(tags.printable(f": {error}"), _REASON_MAX) if _has_reason(error) else ""
        raise _error(f"{label}={shown(value)}{reason}", option.allowed) from None


def _has_reason(error: Exception) -> bool:
    """Return whether an error's text helps a user; that of a UnicodeEncodeError does not."""
    return type(error) is ValueError and bool(str(error))


def shown(value: object) -> str:
    """Return the ``repr`` of a value as one line of at most 100 characters. Raises nothing."""
    try:
        text = tags.printable(repr(value))
    except Exception:  # a user's ``__repr__``, or a number with more than 4,300 digits
        text = f"a {type(value).__name__}"
    return _short(text, _VALUE_MAX)


def _short(text: str, most: int) -> str:
    """Return the text in at most ``most`` characters."""
    return text if len(text) <= most else f"{text[: most - 3]}..."


def _error(wrong: str, allowed: str) -> ConfigError:
    return ConfigError(f"gunicorn_backlog: {wrong}; allowed: {allowed}")


def _address(
    url: Address | None, cfg: Config, environ: Mapping[str, str], unusable: list[str]
) -> tuple[Address, str]:
    """Return the Agent's address and its source, a setting or a variable."""
    if url is not None:
        variable = OPTIONS["url"].variable
        return url, variable if environ.get(variable, "").strip() else "configure(url=...)"
    if datadog := agent_address.from_datadog(environ, unusable):
        return datadog
    try:
        if statsd := agent_address.from_gunicorn(cfg.statsd_host):
            return statsd, "statsd_host"
    except ValueError as error:
        unusable.append(f"statsd_host={shown(cfg.statsd_host)}: {error}")
    return agent_address.DEFAULT, "default"


def _prefix(statsd_prefix: str) -> str:
    """Return a prefix that Datadog accepts unchanged: metric names start with a letter."""
    return _ILLEGAL_START.sub("", _ILLEGAL_IN_NAME.sub("_", statsd_prefix.rstrip(".")))
