"""Run a command, and write which lines of the package its Python processes executed.

``python -m tests.line_coverage COMMAND ARGUMENT…``, then ``python -m coverage report``.
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
    if sys.version_info < (3, 12):
        sys.exit("tests.line_coverage needs Python 3.12 or later")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        folder.chmod(0o755)
        with recording(ROOT / "gunicorn_backlog", folder):
            code = subprocess.run(sys.argv[1:], check=False).returncode
        write_coverage(folder, ROOT / ".coverage")
    return code


if __name__ == "__main__":
    sys.exit(main())
