"""A test in two forms: a short one that runs each time, and a long one that ``-m soak`` runs."""

from __future__ import annotations

import pytest


def forms(name: str, *, short: object, long: object) -> pytest.MarkDecorator:
    """Give a test the argument ``name``: of one size in its short form, of another in its long."""
    sizes = [
        pytest.param(short, id="short"),
        pytest.param(long, id="long", marks=pytest.mark.soak),
    ]
    return pytest.mark.parametrize(name, sizes)
