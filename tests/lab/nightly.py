"""Cases that only ``pytest -m 'nightly and not soak'`` runs."""

from __future__ import annotations

import pytest
from _pytest.mark.structures import ParameterSet

from tests.lab.gunicorn_versions import BETWEEN, VERSIONS


def nightly(*values: object, id: str | None = None) -> ParameterSet:
    """Return a case that runs at night only."""
    return pytest.param(*values, id=id, marks=pytest.mark.nightly)


# For behaviour that does not depend on gunicorn.
NEWEST_BY_DAY = pytest.mark.parametrize(
    "gunicorn", [nightly(VERSIONS[0], id=VERSIONS[0]), VERSIONS[-1]], indirect=True
)
ALL_VERSIONS = [*VERSIONS, *(nightly(version, id=version) for version in BETWEEN)]
