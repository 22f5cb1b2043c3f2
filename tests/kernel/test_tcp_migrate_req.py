"""The sysctl by which the kernel moves the queue of a closed socket."""

from __future__ import annotations

from pathlib import Path

import pytest

from gunicorn_backlog.kernel.tcp_migrate_req import migrates


@pytest.mark.parametrize(("text", "moved"), [("1\n", True), ("0\n", False), ("", False)])
def test_the_setting(text: str, moved: bool, tmp_path: Path) -> None:
    """1 moves the queue; an older kernel has no file."""
    path = tmp_path / "tcp_migrate_req"
    assert not migrates(path)
    path.write_text(text)
    assert migrates(path) is moved
