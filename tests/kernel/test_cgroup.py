"""The OOM counter of a cgroup: texts as the kernel prints them, and this process's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from gunicorn_backlog.kernel.cgroup import (
    Mount,
    OomKills,
    decode_mounts,
    decode_oom_kills,
    decode_paths,
)

HYBRID = "4:memory:/kubepods/pod1/abc\n3:cpuset:/\n1:name=systemd:/\n0::/unified\n"
V2 = "0::/system.slice/app.service\n"


def mount(kind: str, root: str, point: Path | str, options: str) -> str:
    """Return a line of ``mountinfo``."""
    return f"34 25 0:31 {root} {point} rw,nosuid shared:9 - {kind} cgroup {options}\n"


def test_paths() -> None:
    """The path of the memory controller in v1, and that of v2."""
    assert decode_paths(HYBRID) == {"cgroup": "/kubepods/pod1/abc", "cgroup2": "/unified"}
    assert decode_paths(V2) == {"cgroup2": "/system.slice/app.service"}


def test_mounts() -> None:
    """Of v1 only the mount with the memory controller counts."""
    text = (
        mount("cgroup", "/", "/sys/fs/cgroup/cpu", "rw,cpu")
        + mount("cgroup", "/", "/sys/fs/cgroup/memory", "rw,memory")
        + mount("cgroup2", "/", "/sys/fs/cgroup/unified", "rw")
        + mount("tmpfs", "/", "/run", "rw")
    )
    assert list(decode_mounts(text)) == [
        Mount("cgroup", "/", "/sys/fs/cgroup/memory"),
        Mount("cgroup2", "/", "/sys/fs/cgroup/unified"),
    ]


@pytest.mark.parametrize(
    ("text", "kills"),
    [
        ("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n", 3),
        ("low 0\nhigh 0\nmax 12\noom 5\noom_kill 2\noom_group_kill 1\n", 2),
        ("oom_kill_disable 0\nunder_oom 0\n", None),  # before Linux 4.13
        ("oom_kill many\n", None),
        ("", None),
    ],
)
def test_counters(text: str, kills: int | None) -> None:
    """The counter of v1 and of v2; None for a text without it."""
    assert decode_oom_kills(text) == kills


@pytest.mark.parametrize("root", ["/", "/kubepods/pod1/abc"])
@pytest.mark.parametrize(
    ("kind", "paths"), [("cgroup", HYBRID), ("cgroup2", "0::/kubepods/pod1/abc\n")]
)
def test_a_container_and_its_host(root: str, kind: str, paths: str, tmp_path: Path) -> None:
    """A container's mount shows its own cgroup, a host's mount the root (a stand-in for both)."""
    hierarchy = tmp_path / "cgroup"
    folder = hierarchy / "kubepods/pod1/abc" if root == "/" else hierarchy
    folder.mkdir(parents=True)
    name = "memory.oom_control" if kind == "cgroup" else "memory.events"
    (folder / name).write_text("oom_kill 7\n")
    proc = tmp_path / "proc"
    proc.mkdir()
    (proc / "cgroup").write_text(paths)
    (proc / "mountinfo").write_text(mount(kind, root, hierarchy, "rw,memory"))
    assert OomKills(proc).read() == 7


def test_without_a_counter(tmp_path: Path) -> None:
    """Unreadable or malformed files, and the root cgroup of v2, have no counter."""
    assert OomKills(tmp_path / "missing").read() is None
    (tmp_path / "cgroup").write_text("0::/\n")
    (tmp_path / "mountinfo").write_text("junk\n")
    assert OomKills(tmp_path).read() is None
    (tmp_path / "mountinfo").write_text(mount("cgroup2", "/", tmp_path, "rw"))
    assert OomKills(tmp_path).read() is None


def test_this_process() -> None:
    """The counter of this process's own cgroup is a number, if the cgroup has one."""
    kills = OomKills()
    if kills.file is None:
        pytest.skip("this cgroup has no OOM counter")
    number = kills.read()
    assert number is not None
    assert number >= 0
