"""tags: validation, cleaning, splitting and merging."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gunicorn_backlog.config.tags import LONGEST, check, clean, listener_tag, merge, split


@pytest.mark.parametrize("tag", ["team:web", "a:b", "url:http://x/y", "tier:1", "über:ß", "a.b:c"])
def test_well_formed(tag: str) -> None:
    """A well-formed tag is returned unchanged."""
    assert check(tag) == tag


@pytest.mark.parametrize(
    "tag",
    ["", "web", ":web", "team:", "1a:b", "a b:c", "a:b c", "a:b,c:d", "a:b|c", "a:b\n", "a:#b"],
)
def test_malformed(tag: str) -> None:
    """A tag that the Agent would change, split or misread is refused."""
    with pytest.raises(ValueError, match=f"{re.escape(repr(tag))} is malformed"):
        check(tag)


def test_too_long() -> None:
    """Datadog would truncate a longer tag, which no user intends."""
    check("a:" + "b" * (LONGEST - 2))
    with pytest.raises(ValueError, match="longer than 200"):
        check("a:" + "b" * (LONGEST - 1))


@given(st.text())
def test_clean_removes_all_separators_of_a_datagram(text: str) -> None:
    """A cleaned tag contains no separator of the protocol."""
    assert not set(clean(text)) & set("\n\r|#, \0")
    assert len(clean(text)) <= LONGEST


@pytest.mark.parametrize("text", ["a:b,c:d", "a:b c:d", " a:b, c:d ,", "a:b\nc:d"])
def test_split(text: str) -> None:
    """Commas and blanks separate the tags of DD_TAGS."""
    assert split(text) == ["a:b", "c:d"]


def test_merge_keeps_each_tag_once() -> None:
    """The first source's tags come first; a tag of two sources appears once."""
    assert merge(["a:1", "b:2"], ["b:2", "a:3"], ["c:4"]) == ["a:1", "b:2", "a:3", "c:4"]


def test_merge_takes_the_service_from_the_first_source() -> None:
    """env, service and version have one value, from the first source that has one."""
    first = ["env:canary"]
    second = ["env:prod", "service:web", "version:2"]
    third = ["service:other", "team:web"]
    assert merge(first, second, third) == ["env:canary", "service:web", "version:2", "team:web"]


@pytest.mark.parametrize(
    ("address", "tag"),
    [
        (("0.0.0.0", 8000), "0.0.0.0:8000"),
        (("::", 8000, 0, 0), ":::8000"),
        (("::1", 80, 0, 0), "::1:80"),
        ("/run/app.sock", "/run/app.sock"),
        ("app.sock", f"{os.getcwd()}/app.sock"),
        ("/run/my app.sock", "/run/my_app.sock"),
        (b"\0app", "abstract:app"),
        ("\0app", "abstract:app"),
    ],
)
def test_a_listeners_address_as_a_tag(address: object, tag: str) -> None:
    """Readable, and without characters that Datadog replaces."""
    assert listener_tag(address) == tag


def test_a_relative_path_in_a_removed_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel has no path of a removed working directory."""
    folder = tmp_path / "removed"
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()
    assert listener_tag("app.sock") == "app.sock"
