"""Conditions of a run: the machine, the versions and the date."""

from __future__ import annotations

import os
import platform
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("gunicorn", "datadog", "gunicorn_backlog", "pyperf", "gevent")


def description() -> dict[str, str]:
    """Return the machine, the versions and the date, by name."""
    return {
        "date": time.strftime("%Y-%m-%d"),
        "processor": f"{_field(Path('/proc/cpuinfo'), 'model name')}, {os.cpu_count()} cores",
        "memory": f"{int(_field(Path('/proc/meminfo'), 'MemTotal').split()[0]) / 2**20:.0f} GB",
        "kernel": f"{platform.system()} {platform.release()}",
        "virtual machine": "yes" if _is_virtual() else "no",
        "load before": " ".join(f"{load:.2f}" for load in os.getloadavg()),
        "Python": platform.python_version(),
        **{name: _installed(name) for name in PACKAGES},
    }


def _is_virtual() -> bool:
    return "hypervisor" in _field(Path("/proc/cpuinfo"), "flags")


def as_markdown(machine: dict[str, str]) -> str:
    """Return the description as one paragraph of Markdown."""
    return "; ".join(f"{name} {value}" for name, value in machine.items()) + "."


def _field(path: Path, name: str) -> str:
    for line in path.read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return "0 unknown"


def _installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
