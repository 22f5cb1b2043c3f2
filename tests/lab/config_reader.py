"""Configs read by ``check``: one process imports gunicorn and ours, and forks for each config.

Most of a read is imports. Each fork runs the program that ``check`` starts for a config.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from gunicorn_backlog.cli.check import config as of_config
from gunicorn_backlog.cli.check.config import GunicornConfig
from tests.lab.cli_command import environment

LONGEST_S = 60  # of one read
PROGRAM = f"""
import json, os, signal, sys
sys.path[:] = [folder for folder in sys.path if folder]
from gunicorn_backlog.cli.check.read_config import main

for line in sys.stdin:
    folders, environ, result, arguments = json.loads(line)
    pid = os.fork()
    if pid == 0:
        signal.alarm({LONGEST_S})
        null = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(null, stream)
        sys.path[:0] = folders
        os.environ.update(environ)
        sys.argv = ["read", str(os.open(result, os.O_WRONLY | os.O_CREAT)), *arguments]
        try:
            main()
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    print(flush=True)
"""


class ConfigReader:
    """Reads configs like ``config.read`` of ``check``; a context manager.

    :param folder: for the results.
    """

    def __init__(self, folder: Path) -> None:
        self._result = folder / "result"
        self._program = subprocess.Popen(
            [sys.executable, "-c", PROGRAM],
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> ConfigReader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._program.communicate()

    def read(self, arguments: Sequence[str], *folders: Path, **environ: str) -> GunicornConfig:
        """Return gunicorn's config for these arguments; ``folders`` come first in the path."""
        assert self._program.stdin is not None
        assert self._program.stdout is not None
        self._result.unlink(missing_ok=True)
        job = [str(folder) for folder in folders], environ, str(self._result), arguments
        print(json.dumps(job), file=self._program.stdin, flush=True)
        assert self._program.stdout.readline() == "\n"
        found = of_config._decoded(self._result.read_text())
        assert not isinstance(found, str), found
        return found
