"""What the monitor is told to do: by ``configure()``, the environment, and gunicorn's own config.

``GUNICORN_BACKLOG_*`` comes before ``configure()``, that before Datadog's ``DD_*``, and those
before gunicorn's own statsd settings: the deployment overrides the file, as gunicorn does it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from gunicorn_backlog.config import agent_address, tags
from gunicorn_backlog.config.agent_address import Address
from gunicorn_backlog.config.options import OPTIONS, BacklogType, Option
from gunicorn_backlog.config.unknown_variables import unknown_variables

if TYPE_CHECKING:
    from gunicorn_backlog._gunicorn import Config

_ILLEGAL_IN_NAME = re.compile(r"[^A-Za-z0-9_.]")
_NO_BEGIN = re.compile(r"^[^A-Za-z]+")


class ConfigError(SystemExit):
    """A setting is wrong: one line that names it, its value and what is allowed.

    It is a SystemExit because gunicorn prints the traceback of any Exception that a config file
    raises: this one ends the start with just its line on stderr, and exit code 1.
    """


class Settings(NamedTuple):
    """What the monitor is told to do, checked, with every default filled in.

    ``address_from`` is the setting or variable that the address came from, as the user wrote it:
    ``GUNICORN_BACKLOG_URL``, ``configure(url=...)``, one or two of Datadog's variables,
    ``statsd_host``, or ``default``.
    ``tags`` are the user's own; ``inherited_tags`` those of ``DD_TAGS`` and of gunicorn's
    ``dogstatsd_tags``, in this order; what the ``datadog`` client reads comes between the two.
    ``unusable`` says what is wrong with settings that are not ours, and so were passed over.
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
    unusable: tuple[str, ...] = ()

    @property
    def pace(self) -> tuple[float, int, Address]:
        """What must not change for an interval under way to go on: when it ends, and where to.

        Another Agent's name may not be looked up by then.
        """
        return self.interval_s, self.samples, self.address


def check(configured: Mapping[str, object], environ: Mapping[str, str]) -> None:
    """Raise ConfigError for the first bad setting in ``configure()`` or the environment."""
    _chosen(configured, environ)


def is_enabled(configured: Mapping[str, object], environ: Mapping[str, str]) -> bool:
    """Return whether the setting ``enabled`` is true. Raises ConfigError."""
    return bool(_chosen(configured, environ)["enabled"])


def load(
    cfg: Config, configured: Mapping[str, object], environ: Mapping[str, str] = os.environ
) -> Settings:
    """Put all sources together. Raises ConfigError."""
    chosen = _chosen(configured, environ)
    unusable = unknown_variables(environ)
    found, source = _address(chosen["url"], cfg, environ, unusable)
    return Settings(
        enabled=chosen["enabled"],
        interval_s=chosen["interval"],
        samples=chosen["samples"],
        address=found,
        address_from=source,
        tags=chosen["tags"],
        inherited_tags=(*tags.split(environ.get("DD_TAGS", "")), *tags.split(cfg.dogstatsd_tags)),
        prefix=_prefix(cfg.statsd_prefix),
        backlog_type=chosen["backlog_type"],
        unusable=tuple(unusable),
    )


def _chosen(configured: Mapping[str, object], environ: Mapping[str, str]) -> dict[str, Any]:
    """Return every option's value from the environment, ``configure()`` or its default."""
    defaults = {option.name: option.default for option in OPTIONS.values()}
    return defaults | _from_configure(configured) | _from_environment(environ)


def _from_configure(configured: Mapping[str, object]) -> dict[str, object]:
    known = ", ".join(OPTIONS)
    for name in configured:
        if name not in OPTIONS:
            raise _error(f"configure() has no setting {name!r}", known)
    given = {name: value for name, value in configured.items() if value is not None}
    return {name: _checked(OPTIONS[name], value, name) for name, value in given.items()}


def _from_environment(environ: Mapping[str, str]) -> dict[str, object]:
    options = {option.variable: option for option in OPTIONS.values()}
    values = {}
    for variable, text in environ.items():
        option = options.get(variable)
        if option is not None and text.strip():
            values[option.name] = _checked(option, text.strip(), variable, option.read)
    return values


def _checked(option: Option, value: Any, label: str, read: Any = lambda value: value) -> object:
    try:
        return option.check(read(value))
    except (ValueError, TypeError, OverflowError) as error:
        reason = str(error) if type(error) is ValueError and option.name in {"url", "tags"} else ""
        raise _error(f"{label}={shown(value)}{reason and ': '}{reason}", option.allowed) from None


def shown(value: object) -> str:
    """Return the value for one line: on one line, and not a long one."""
    try:
        text = "".join(it if it.isprintable() else " " for it in repr(value))
    except Exception:  # whatever a user's class, or a number of many digits, does in its repr
        text = f"a {type(value).__name__}"
    return text if len(text) <= 100 else f"{text[:97]}..."


def _error(wrong: str, allowed: str) -> ConfigError:
    return ConfigError(f"gunicorn_backlog: {wrong}; allowed: {allowed}")


def _address(
    url: Address | None, cfg: Config, environ: Mapping[str, str], unusable: list[str]
) -> tuple[Address, str]:
    """Return the Agent's address, and the setting or variable that it came from."""
    if url is not None:
        variable = OPTIONS["url"].variable
        return url, variable if environ.get(variable, "").strip() else "configure(url=...)"
    if found := agent_address.from_datadog(environ, unusable):
        return found
    try:
        if statsd := agent_address.from_gunicorn(cfg.statsd_host):
            return statsd, "statsd_host"
    except ValueError as error:
        unusable.append(f"statsd_host={shown(cfg.statsd_host)}: {error}")
    return agent_address.DEFAULT, "default"


def _prefix(statsd_prefix: str) -> str:
    """Return the prefix as Datadog would make it: names begin with a letter."""
    return _NO_BEGIN.sub("", _ILLEGAL_IN_NAME.sub("_", statsd_prefix.rstrip(".")))
