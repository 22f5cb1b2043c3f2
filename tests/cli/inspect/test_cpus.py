"""The CPUs that a process may use: its affinity, and the quotas of its cgroups."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from gunicorn_backlog.cli.inspect.cpus import CGROUPS, cpus, quotas
from tests.lab.process_group import Group
from tests.lab.waiting import wait_for


def test_the_affinity() -> None:
    """A process that is bound to one CPU has one."""
    core = min(os.sched_getaffinity(0))
    with Group(["taskset", "-c", str(core), "sleep", "60"]) as process:
        wait_for("the affinity", lambda: os.sched_getaffinity(process.pid) == {core})
        assert cpus(process.pid) <= 1
    with pytest.raises(ProcessLookupError):
        cpus(process.pid)


def test_cgroups_v2(tmp_path: Path) -> None:
    """The quota of the cgroup and of those above it; ``max`` and a missing file are none."""
    (tmp_path / "pods" / "web").mkdir(parents=True)
    (tmp_path / "pods" / "cpu.max").write_text("250000 100000\n")
    (tmp_path / "pods" / "web" / "cpu.max").write_text("max 100000\n")
    assert list(quotas("0::/pods/web\n", tmp_path)) == [2.5]
    (tmp_path / "pods" / "web" / "cpu.max").write_text("50000 100000\n")
    assert list(quotas("0::/pods/web\n", tmp_path)) == [0.5, 2.5]
    assert list(quotas("0::/elsewhere\n", tmp_path)) == []


def test_cgroups_v1(tmp_path: Path) -> None:
    """Only the hierarchy of the controller ``cpu`` counts; -1 is no quota."""
    folder = tmp_path / "cpu" / "web"
    folder.mkdir(parents=True)
    (folder / "cpu.cfs_period_us").write_text("100000\n")
    for quota, expected in (("150000", [1.5]), ("-1", [])):
        (folder / "cpu.cfs_quota_us").write_text(f"{quota}\n")
        text = "5:cpuset:/other\n3:cpu,cpuacct:/web\n0::/\n"
        assert list(quotas(text, tmp_path)) == expected


@pytest.fixture
def cgroup() -> Iterator[Path]:
    """A cgroup with a quota of half a CPU."""
    folder = CGROUPS / "cpu" / f"test-{os.getpid()}"
    v1 = (CGROUPS / "cpu").is_dir()
    if not v1:
        folder = CGROUPS / f"test-{os.getpid()}"
    try:
        folder.mkdir()
        if v1:
            (folder / "cpu.cfs_quota_us").write_text("50000")
            (folder / "cpu.cfs_period_us").write_text("100000")
        else:
            (folder / "cpu.max").write_text("50000 100000")
    except OSError as error:
        with suppress(OSError):
            folder.rmdir()
        pytest.skip(f"no cgroup may be created here: {error}")
    yield folder
    folder.rmdir()


def test_a_real_cgroup(cgroup: Path) -> None:
    """A process in a cgroup with a quota of half a CPU has half a CPU."""
    with Group(["sleep", "60"]) as process:
        (cgroup / "cgroup.procs").write_text(str(process.pid))
        assert cpus(process.pid) == 0.5
