"""Python files that a test writes again, as a config before a reload."""

from __future__ import annotations

import os
import random
from pathlib import Path

LATEST_S = 2**31  # since 1970: byte code has the time of its source in 32 bits


def write_python(path: Path, text: str) -> None:
    """Write a Python file whose older byte code is never used.

    Python compares a source with its byte code by size and by time of change, in seconds. gunicorn
    would run the old config if a test wrote a new one of the same size within the same second.
    """
    path.write_text(text)
    changed_s = random.randrange(LATEST_S)
    os.utime(path, (changed_s, changed_s))
