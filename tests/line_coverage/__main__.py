"""Run a command, and write which lines of the package its Python processes executed.

``python -m tests.line_coverage COMMAND ARGUMENT…``, then ``python -m coverage report``. This needs
Python 3.12.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from tests.line_coverage.recording import recording, write_coverage

ROOT = Path(__file__).resolve().parents[2]


def main() -> int:
    """Return the exit code of the command."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        folder.chmod(0o755)
        with recording(ROOT / "gunicorn_backlog", folder):
            code = subprocess.run(sys.argv[1:], check=False).returncode
        write_coverage(folder, ROOT / ".coverage")
    return code


if __name__ == "__main__":
    sys.exit(main())
