"""The supported gunicorns, each installed beside the tests' own environment."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

VERSIONS = ("20.1.0", "27.0.1")
BETWEEN = ("23.0.0", "25.3.0")

# With the oldest gunicorn goes the oldest datadog client, and pkg_resources, which it imports. That
# of setuptools 80 takes 0.24 s of CPU to import, and that of 69 takes 0.14 s.
_WITH = {"20.1.0": ("datadog==0.52.0", "setuptools<70")}


@dataclass(frozen=True)
class Gunicorn:
    """One gunicorn, and the folder of its installation."""

    version: str
    folder: Path

    @property
    def has_control_socket(self) -> bool:
        """Whether this gunicorn opens a control socket in the home directory."""
        return int(self.version.partition(".")[0]) >= 25

    def command(self, *arguments: str) -> list[str]:
        """Return the command line that runs its ``gunicorn`` command."""
        return [sys.executable, str(self.folder / "bin" / "gunicorn"), *arguments]

    def environ(self, **variables: str) -> dict[str, str]:
        """Return an environment in which this gunicorn comes first, without settings of ours."""
        left_out = ("GUNICORN_", "DD_", "DATADOG_", "COV_")
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(left_out)}
        root = Path(__file__).parents[2]
        return inherited | {"PYTHONPATH": f"{self.folder}:{root}"} | variables


def install(version: str, folder: Path) -> Gunicorn:
    """Install a version unless present; skip the test if the installation fails.

    Several processes may ask at a time: one installs, and the folder appears when it is complete.
    """
    target = folder / version
    with (folder / f"{version}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            partial = folder / f"{version}.partial"
            shutil.rmtree(partial, ignore_errors=True)
            command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target"]
            command += [str(partial), f"gunicorn=={version}", *_WITH.get(version, ("datadog",))]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                pytest.skip(f"gunicorn {version} can't be installed: {done.stderr.strip()[-200:]}")
            partial.rename(target)
    return Gunicorn(version, target)
