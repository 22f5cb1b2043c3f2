"""The recorder marks the lines that coverage.py finds, however a process ends."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from coverage import CoverageData

from tests.line_coverage.recording import executed, recording, write_coverage

ROOT = Path(__file__).parents[2]
SUBJECT = """
import asyncio, functools, threading

def decorated(function):
    @functools.wraps(function)
    def wrapper(*arguments):
        return function(*arguments)
    return wrapper

@decorated
def branches(number):
    if number > 1:
        return [
            each for each in range(number)
            if each
        ]
    elif number == 1:
        return "never reached"
    return None

def endings():
    try:
        yield 1
        raise KeyError
    except KeyError:
        pass
    else:
        never = 1
    finally:
        total = (1 +
                 2)
    while True:
        break
    yield total

async def later():
    await asyncio.sleep(0)
    async with asyncio.Lock():
        return lambda: 1

class Thing:
    field = 1

    def unused(self):
        return 2

    def threaded(self):
        match self.field:
            case 1:
                self.field = 3
            case 2:
                self.field = 4

branches(0); branches(3)
list(endings())
asyncio.run(later())
thread = threading.Thread(target=Thing().threaded)
thread.start()
thread.join()
"""
ENDS = """
import os, signal

def forked():
    os.kill(os.getpid(), signal.SIGKILL)

def parent(child):
    os.waitpid(child, 0)
    os._exit(0)

child = os.fork()
if child == 0:
    forked()
parent(child)
"""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A package with a module of many kinds of lines, and one that ends hard."""
    folder = tmp_path / "package"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "subject.py").write_text(SUBJECT)
    (folder / "ends.py").write_text(ENDS)
    return folder


def run(package: Path, statement: str) -> None:
    """Run a statement in a Python that reads the ``.pth`` files beside the package only.

    It reads them twice, as in a virtual environment.
    """
    site = str(package.parent)
    program = f"import site; site.addsitedir({site!r}); site.addsitedir({site!r}); {statement}"
    done = subprocess.run(
        [sys.executable, "-S", "-c", program],
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""


def lines_of_coverage_py(script: Path, folder: Path) -> list[int]:
    """Return the executed lines of a script, as coverage.py finds them."""
    path = folder / "coverage"
    command = [sys.executable, "-m", "coverage", "run", "--rcfile=", f"--data-file={path}"]
    subprocess.run([*command, str(script)], cwd=folder, check=True)
    data = CoverageData(str(path))
    data.read()
    return sorted(data.lines(str(script)) or [])


def test_it_marks_the_lines_of_coverage_py(package: Path, tmp_path: Path) -> None:
    """coverage.py has the same lines, and reads ours from its own format."""
    with recording(package, tmp_path, site=tmp_path):
        run(package, "import package.subject")

    expected = lines_of_coverage_py(package / "subject.py", tmp_path)
    assert expected
    write_coverage(tmp_path, tmp_path / ".coverage")
    written = CoverageData(str(tmp_path / ".coverage"))
    written.read()
    assert sorted(written.lines(str(package / "subject.py")) or []) == expected


def test_killed_processes_count(package: Path, tmp_path: Path) -> None:
    """A fork that SIGKILL ends, and a process that leaves by ``os._exit``, lose no line."""
    with recording(package, tmp_path, site=tmp_path):
        run(package, "import package.ends")
        missing = executed(tmp_path)[str(package / "subject.py")]

    code = compile(ENDS, "", "exec")
    functions = [each for each in code.co_consts if hasattr(each, "co_lines")]
    every = {line for part in (code, *functions) for _, _, line in part.co_lines() if line}
    assert set(executed(tmp_path)[str(package / "ends.py")]) == every
    assert missing == []


def test_nothing_is_left_in_the_environment(package: Path, tmp_path: Path) -> None:
    """After a recording no process is recorded."""
    before = set(tmp_path.iterdir())
    with recording(package, tmp_path, site=tmp_path):
        pass
    run(package, "import package.subject")

    assert {path.name for path in set(tmp_path.iterdir()) - before} == {"sources", "lines"}
    assert not any(executed(tmp_path).values())
