"""The settings a user can make: their names, defaults, and what each may be."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Literal, NamedTuple, TypeAlias, get_args

from gunicorn_backlog.config import agent_address, tags

BacklogType: TypeAlias = Literal["histogram", "distribution", "gauge"]

INTERVAL_S = (0.1, 60.0)
SAMPLES = (1, 100)
SWITCH = "True or False (in the environment also 1 or 0, yes or no, on or off)"
ENVIRONMENT_PREFIX = "GUNICORN_BACKLOG_"

# Python takes more for a number, as "1_0" and digits of other scripts.
_NUMBER = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?")
_DIGITS = re.compile(r"[0-9]{1,9}")
_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})


class Option(NamedTuple):
    """One setting: ``check`` returns a good value and raises ValueError or TypeError else.

    ``read`` makes a value of the environment variable's text, for ``check`` to look at.
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


def _check_enabled(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def _read_enabled(text: str) -> object:
    word = text.lower()
    return word in _TRUE if word in _TRUE | _FALSE else text


def _check_interval(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError
    if not INTERVAL_S[0] <= value <= INTERVAL_S[1]:
        raise ValueError
    return float(value)


def _read_interval(text: str) -> object:
    return float(text) if _NUMBER.fullmatch(text) else text


def _read_samples(text: str) -> object:
    return int(text) if _DIGITS.fullmatch(text) else text


def _check_samples(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError
    if not SAMPLES[0] <= value <= SAMPLES[1]:
        raise ValueError
    return value


def _check_url(value: object) -> agent_address.Address:
    if not isinstance(value, str):
        raise TypeError
    return agent_address.parse(value)


def _check_tags(value: object) -> tuple[str, ...]:
    if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Iterable):
        raise TypeError
    return tuple(tags.check(_text(tag)) for tag in value)


def _text(tag: object) -> str:
    if not isinstance(tag, str):
        raise TypeError
    return tag


def _check_backlog_type(value: object) -> object:
    if value not in get_args(BacklogType):
        raise ValueError
    return value


OPTIONS = {
    option.name: option
    for option in (
        Option("enabled", True, SWITCH, _check_enabled, _read_enabled),
        Option(
            "interval",
            1.0,
            f"a number of seconds from {INTERVAL_S[0]:g} to {INTERVAL_S[1]:g}",
            _check_interval,
            _read_interval,
        ),
        Option(
            "samples",
            10,
            f"a whole number from {SAMPLES[0]} to {SAMPLES[1]}",
            _check_samples,
            _read_samples,
        ),
        Option("url", None, agent_address.URL_FORMS, _check_url, str),
        Option(
            "tags",
            (),
            f"a list of {tags.FORM}",
            _check_tags,
            lambda text: [tag.strip() for tag in text.split(",") if tag.strip()],
        ),
        Option(
            "backlog_type",
            "histogram",
            ", ".join(get_args(BacklogType)),
            _check_backlog_type,
            str,
            env="TYPE",
        ),
    )
}
