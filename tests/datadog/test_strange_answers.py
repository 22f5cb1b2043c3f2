"""apply.py with responses that are not Datadog's, as of a proxy: one line each."""

from __future__ import annotations

import pytest

from tests.datadog.applying import check_refused, run
from tests.datadog.standin_api import StandInApi

SAID = "what answers is not Datadog's API; check DD_SITE"


@pytest.mark.parametrize(("status", "answer"), [(301, {}), (204, ""), (200, {}), (200, [{}])])
def test_an_object_that_is_not_answered_was_not_made(
    api: StandInApi, status: int, answer: object
) -> None:
    """Only 2xx with the object and its id counts as created; earlier objects are deleted."""
    api.fault = lambda method, path: (
        (status, answer) if (method, path, len(api.writes)) == ("POST", "monitor", 3) else None
    )
    before = api.state()
    check_refused(run(api.url), "POST monitor: ", SAID, "nothing was changed")
    assert api.state() == before


def test_a_change_that_is_not_answered_was_not_made(filled: StandInApi) -> None:
    """The same holds for a PUT."""
    filled.metrics["gunicorn.workers"]["unit"] = "process"
    filled.fault = lambda method, path: (200, "") if method == "PUT" else None
    check_refused(run(filled.url), "PUT metrics/gunicorn.workers: ", "may be left as it is now")


def test_a_redirect_is_not_taken_for_an_answer(filled: StandInApi) -> None:
    """A redirect would turn a PUT into a GET, with a similar response."""
    filled.metrics["gunicorn.workers"]["unit"] = "process"
    filled.fault = lambda method, path: (302, {}) if method == "PUT" else None
    check_refused(run(filled.url), "PUT metrics/gunicorn.workers: 302: ", SAID)


@pytest.mark.parametrize(("prefix", "answer"), [("dashboard/", "null"), ("metrics/", [])])
def test_details_of_another_shape_are_one_line(
    filled: StandInApi, prefix: str, answer: object
) -> None:
    """Details of another shape are one line before any change."""
    filled.fault = lambda method, path: (200, answer) if path.startswith(prefix) else None
    check_refused(run(filled.url), f"GET {prefix}", SAID)
    assert filled.writes == []


def test_options_of_another_shape_are_one_line(filled: StandInApi) -> None:
    """A listed monitor's options of another shape are one line."""
    next(iter(filled.monitors.values()))["options"] = ["x"]
    check_refused(run(filled.url), SAID)
    assert filled.writes == []
