"""Fixtures of the tests of ``check``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.check_command import WriteConfig
from tests.lab.config_reader import ConfigReader
from tests.lab.python_files import write_python


@pytest.fixture
def config(tmp_path: Path) -> WriteConfig:
    """Return a function that writes a config file and returns gunicorn's arguments for it."""

    def write(text: str) -> tuple[str, ...]:
        path = tmp_path / "gunicorn.conf.py"
        write_python(path, text)
        return ("--config", str(path), "--backlog", "5")

    return write


@pytest.fixture(scope="session")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConfigReader]:
    """A process that reads configs."""
    with ConfigReader(tmp_path_factory.mktemp("configs")) as found:
        yield found
