"""shared_memory: without memfd, a file on a full file system."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.lab.sandbox import require

PROGRAM = """
import errno, os, sys
for name in sys.argv[2:]:
    delattr(os, name)
import tempfile
tempfile.tempdir = sys.argv[1]
from gunicorn_backlog.scoreboard import shared_memory
before = os.listdir("/proc/self/fd")
try:
    fd, memory = shared_memory.create("lab", 16 * 4096)
except OSError as error:
    print(errno.errorcode[error.errno], os.listdir("/proc/self/fd") == before)
else:
    memory[:] = b"1" * len(memory)
    print(len(memory), os.fstat(fd).st_nlink)
"""


@pytest.mark.parametrize("missing", [("memfd_create",), ("memfd_create", "posix_fallocate")])
@pytest.mark.parametrize(
    ("pages", "said"), [(0, "ENOSPC True"), (4, "ENOSPC True"), (64, "65536 0")]
)
def test_without_memfd_on_a_disk_of_some_pages(
    missing: tuple[str, ...], pages: int, said: str, tmp_path: Path
) -> None:
    """Without room for all of the file: an error and no open descriptor, instead of a SIGBUS."""
    require("unshare", "-m", "true")
    script = (
        f"mount -t tmpfs -o size={4096 * (pages + 1)} none {tmp_path} && "
        f"head -c 4096 /dev/zero > {tmp_path}/other && "
        'exec "$@"'
    )
    program = (sys.executable, "-c", PROGRAM, str(tmp_path), *missing)
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script, "sh", *program],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout.strip(), done.returncode) == (said, 0), done.stderr
