"""Fixtures for apply.py: a stand-in for Datadog's API, and a folder to change."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from wanted import wanted

from tests.datadog.applying import NAMES
from tests.datadog.files import DASHBOARD, FOLDER
from tests.datadog.models import Dashboard, complaints
from tests.datadog.standin_api import StandInApi


@pytest.fixture
def api() -> Iterator[StandInApi]:
    """A stand-in for Datadog's API that has received all our metrics.

    The dashboard is checked first: on a busy machine this takes longer than a request may.
    """
    assert complaints(Dashboard, DASHBOARD) == []
    with StandInApi() as made:
        made.receive(*NAMES)
        yield made


@pytest.fixture
def filled(api: StandInApi) -> StandInApi:
    """The stand-in with all objects of a first run; its requests count from then on."""
    for want in wanted():
        path = f"metrics/{want.key}" if want.kind == "metric" else want.kind
        api.answer("PUT" if want.kind == "metric" else "POST", path, {}, want.body)
    api.requests.clear()
    return api


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of examples/datadog, for changes."""
    return Path(shutil.copytree(FOLDER, tmp_path / "datadog"))
