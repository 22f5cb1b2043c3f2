"""Two forms of a test: a short form that always runs, and a long one for ``-m soak``."""

from __future__ import annotations

import pytest


def forms(name: str, *, short: object, long: object) -> pytest.MarkDecorator:
    """Parametrize ``name`` by the size of the short form and that of the long form."""
    sizes = [
        pytest.param(short, id="short"),
        pytest.param(long, id="long", marks=pytest.mark.soak),
    ]
    return pytest.mark.parametrize(name, sizes)
