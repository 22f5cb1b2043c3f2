"""Datadog tags: validation, cleaning, and merging of several sources."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from typing import Any

LONGEST = 200  # characters, Datadog's limit for key and value together
FORM = "key:value of letters, digits, _ - . / and :, the key starting with a letter"

_WELL_FORMED = re.compile(r"[^\W\d_][\w\-./]*:[\w\-./:]*[\w\-./]", re.UNICODE)
_ILLEGAL = re.compile(r"[^\w\-:./]", re.UNICODE)
_SEPARATORS = re.compile(r"[,\s]+")
# Unified service tagging: a second value would attribute one process to two services.
_SINGLE_VALUED = frozenset({"env", "service", "version"})


def check(tag: str) -> str:
    """Return a well-formed tag unchanged. Raises ValueError."""
    if len(tag) > LONGEST:
        raise ValueError(f"{tag[:20]!r}... is longer than {LONGEST} characters")
    if not _WELL_FORMED.fullmatch(tag):
        raise ValueError(f"{tag!r} is malformed")
    return tag


def clean(tag: str) -> str:
    """Return a text as a tag: underscores replace characters that Datadog does not accept."""
    return _ILLEGAL.sub("_", tag)[:LONGEST]


def split(text: str) -> list[str]:
    """Return the tags in a text with commas or blanks, which Agent and tracer allow in DD_TAGS."""
    return [clean(tag) for tag in _SEPARATORS.split(text) if tag]


def merge(*sources: Iterable[str]) -> list[str]:
    """Return the tags of several sources, each tag once, in order of the sources.

    ``env``, ``service`` and ``version`` come from the first source that has them. Other keys may
    have several values.
    """
    merged: dict[str, None] = {}
    taken: set[str] = set()
    for source in sources:
        tags = [tag for tag in source if tag.partition(":")[0] not in taken]
        merged.update(dict.fromkeys(tags))
        taken |= {tag.partition(":")[0] for tag in tags} & _SINGLE_VALUED
    return list(merged)


def printable(text: str) -> str:
    """Return the text with a blank for each unprintable character, for a terminal."""
    return "".join(char if char.isprintable() else " " for char in text)


def listener_tag(address: Any) -> str:
    """Return a listening socket's address as the value of the tags ``listener`` and ``bind``.

    ``127.0.0.1:8000``; ``::1:8000`` (the port follows the last colon); the absolute path of a Unix
    socket, since two servers may have the same relative one; ``abstract:name`` in the abstract
    namespace. Characters that Datadog does not allow are replaced.
    """
    if isinstance(address, tuple):
        return clean(f"{address[0]}:{address[1]}")
    path = address.decode(errors="replace") if isinstance(address, bytes) else str(address)
    if path.startswith("\0"):
        return clean(f"abstract:{path[1:]}")
    return clean(path if path.startswith(("/", "fd://")) else _absolute(path))


def _absolute(path: str) -> str:
    try:
        return os.path.join(os.getcwd(), path)
    except OSError:  # the working directory was removed
        return path
