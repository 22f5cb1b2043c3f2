"""The settings of ``configure()`` and the environment: names, defaults, allowed values."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

from gunicorn_backlog.config import agent_address, tags

BacklogType: TypeAlias = Literal["histogram", "distribution", "gauge"]
Group: TypeAlias = Literal["backlog", "workers", "threads", "requests", "wait", "loop"]

GROUPS: tuple[Group, ...] = get_args(Group)

INTERVAL_S = (0.1, 60.0)
SAMPLES = (1, 100)
SWITCH = "True or False (in the environment also 1 or 0, yes or no, on or off)"
ENVIRONMENT_PREFIX = "GUNICORN_BACKLOG_"

# int() and float() also accept "1_0" and digits of other scripts.
_NUMBER = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?")
_DIGITS = re.compile(r"[0-9]{1,9}")
_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})


class Option(NamedTuple):
    """One setting.

    ``name``: the argument of ``configure()``. ``default``: the value without a setting.
    ``allowed``: a description of the allowed values.
    ``check`` returns a good value in the type of ``Settings``, and raises ValueError for others;
    the error has a reason where ``allowed`` is not enough.
    ``read`` converts the text of the environment variable for ``check``.
    ``env``: the variable's name after ENVIRONMENT_PREFIX, if it differs from ``name``.
    """

    name: str
    default: object
    allowed: str
    check: Callable[[object], object]
    read: Callable[[str], object]
    env: str = ""

    @property
    def variable(self) -> str:
        """The environment variable's name."""
        return ENVIRONMENT_PREFIX + (self.env or self.name.upper())

    def check_text(self, text: str) -> object:
        """Return the value of the environment variable's text. Raises ValueError."""
        return self.check(self.read(text))


def _typed(
    kind: type | tuple[type, ...], check: Callable[[Any], object] = lambda value: value
) -> Callable[[object], object]:
    """Return a check that a value has a type, followed by another check; a bool is no number."""

    def check_typed(value: object) -> object:
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise ValueError
        return check(value)

    return check_typed


def _in_range(value: float, bounds: tuple[float, float]) -> float:
    if not bounds[0] <= value <= bounds[1]:
        raise ValueError
    return value


def _checked_items(value: object, check: Callable[[Any], object]) -> tuple[object, ...]:
    """Return the checked items of a list of strings."""
    if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Iterable):
        raise ValueError
    return tuple(map(_typed(str, check), value))


def _check_tags(value: object) -> object:
    return _checked_items(value, tags.check)


def _check_group(group: str) -> object:
    if group not in GROUPS:
        raise ValueError(f"there is no group {group!r}")
    return group


def _check_metrics(value: object) -> object:
    """Return the groups in the order of GROUPS, each once."""
    given = _checked_items(value, _check_group)
    return tuple(group for group in GROUPS if group in given)


def _check_backlog_type(value: object) -> object:
    if value not in get_args(BacklogType):
        raise ValueError
    return value


_check_switch = _typed(bool)
_check_interval = _typed((int, float), lambda value: float(_in_range(value, INTERVAL_S)))
_check_samples = _typed(int, lambda value: _in_range(value, SAMPLES))
_check_url = _typed(str, agent_address.parse)


def _read_switch(text: str) -> object:
    word = text.lower()
    return word in _TRUE if word in _TRUE | _FALSE else text


def _read_interval(text: str) -> object:
    return float(text) if _NUMBER.fullmatch(text) else text


def _read_samples(text: str) -> object:
    return int(text) if _DIGITS.fullmatch(text) else text


def _read_list(text: str) -> list[str]:
    return [item.strip() for item in text.split(",") if item.strip()]


_INTERVAL_ALLOWED = f"a number of seconds from {INTERVAL_S[0]:g} to {INTERVAL_S[1]:g}"
_SAMPLES_ALLOWED = f"a whole number from {SAMPLES[0]} to {SAMPLES[1]}"
_GROUPS_ALLOWED = f"a list of metric groups: {', '.join(GROUPS)}"
_TYPE_ALLOWED = ", ".join(get_args(BacklogType))

_OPTIONS = (
    Option("enabled", True, SWITCH, _check_switch, _read_switch),
    Option("interval", 1.0, _INTERVAL_ALLOWED, _check_interval, _read_interval),
    Option("samples", 10, _SAMPLES_ALLOWED, _check_samples, _read_samples),
    Option("url", None, agent_address.URL_FORMS, _check_url, str),
    Option("tags", (), f"a list of {tags.FORM}", _check_tags, _read_list),
    Option("backlog_type", "histogram", _TYPE_ALLOWED, _check_backlog_type, str, env="TYPE"),
    Option("metrics", GROUPS, _GROUPS_ALLOWED, _check_metrics, _read_list),
    Option("request_wait", False, SWITCH, _check_switch, _read_switch),
)
OPTIONS = {option.name: option for option in _OPTIONS}
VARIABLES = {option.variable: option for option in _OPTIONS}
