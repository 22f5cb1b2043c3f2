"""A recording of executed lines: begin, end, and the result as data of coverage.py."""

from __future__ import annotations

import shutil
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from coverage import CoverageData

from tests.line_coverage.recorder import LONGEST

RECORDER = Path(__file__).with_name("recorder.py")
SITE = Path(sysconfig.get_path("purelib"))
MODULE = "gunicorn_backlog_lines"


@contextmanager
def recording(package: Path, folder: Path, *, site: Path = SITE) -> Iterator[None]:
    """Record executed lines of a package in each Python process of this environment.

    Processes that start in the context are recorded until they end; this process is not.
    """
    sources = sorted(str(path) for path in package.rglob("*.py"))
    (folder / "sources").write_text("\n".join(sources))
    lines = folder / "lines"
    lines.write_bytes(bytes(LONGEST * len(sources)))
    lines.chmod(0o666)  # some tests run servers as another user
    # At the top level of site-packages: processes under test import no package of the tests.
    copy, hook = site / f"{MODULE}.py", site / f"{MODULE}.pth"
    shutil.copyfile(RECORDER, copy)
    hook.write_text(f"import {MODULE}; {MODULE}.start({str(folder)!r})\n")
    try:
        yield
    finally:
        hook.unlink()
        copy.unlink()


def executed(folder: Path) -> dict[str, list[int]]:
    """Return the executed lines of each source."""
    marks = (folder / "lines").read_bytes()
    found = {}
    for row, source in enumerate((folder / "sources").read_text().splitlines()):
        of_source = marks[row * LONGEST : (row + 1) * LONGEST]
        found[source] = [line for line, mark in enumerate(of_source) if mark]
    return found


def write_coverage(folder: Path, path: Path) -> None:
    """Write a recording as a data file of coverage.py."""
    path.unlink(missing_ok=True)
    data = CoverageData(str(path))
    data.add_lines(executed(folder))
    data.write()
