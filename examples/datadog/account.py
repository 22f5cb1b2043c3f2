"""Calls of Datadog's API, through the client of the ``datadog`` package."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

import datadog
from datadog.api.api_client import APIClient
from datadog.api.exceptions import DatadogException

TIMEOUT_S = 20
ANSWERED = [400, 401, 403, 404, 409, 429]  # the client returns these, or raises ApiError
NOT_DATADOG = "what answers is not Datadog's API; check DD_SITE"
Json = dict[str, Any]


class ApplyError(Exception):
    """An error that ends the run; the text is one line."""


class RefusedError(ApplyError):
    """The API refused a request, and changed nothing."""


class NotFoundError(RefusedError):
    """The API has no object at this path."""


def connect(environ: Mapping[str, str] = os.environ) -> None:
    """Configure the client with ``DD_API_KEY``, ``DD_APP_KEY`` and ``DD_SITE``.

    ``DATADOG_HOST``, the client's own variable, is the whole URL of another API. Raises ApplyError.
    """
    for name in ("DD_API_KEY", "DD_APP_KEY"):
        if not environ.get(name):
            raise ApplyError(f"{name} is not set: make a key in Datadog's organization settings")
        if not re.fullmatch(r"[!-~]+", environ[name]):  # a secret: the text omits the value
            raise ApplyError(f"{name} has blanks, line breaks or letters in it that no key has")
    site = environ.get("DD_SITE") or "datadoghq.com"
    if not re.fullmatch(r"[a-z0-9-]+(\.[a-z0-9-]+)+", site):
        raise ApplyError(
            f"DD_SITE is {site!r}; allowed: a site such as datadoghq.eu, without https://"
        )
    datadog.initialize(
        api_key=environ["DD_API_KEY"],
        app_key=environ["DD_APP_KEY"],
        api_host=environ.get("DATADOG_HOST") or f"https://api.{site}",
        hostname_from_config=False,
        return_raw_response=True,
        mute=False,
        timeout=TIMEOUT_S,
    )


def call(method: str, path: str, body: Json | None = None, **parameters: Any) -> Any:
    """Return the API's answer, a list or an object. Raises ApplyError.

    :param path: below the API's version, for example ``monitor``.
    """
    what = f"{method} {path}"
    try:
        answer, response = APIClient.submit(
            method, path, body=body, suppress_response_errors_on_codes=ANSWERED, **parameters
        )
    except (DatadogException, OSError, ValueError) as error:  # the client wraps not all errors
        raise ApplyError(f"{what}: {_one_line(str(error))}") from None
    if response.status_code in ANSWERED:
        raise _refusal(what, response.status_code, answer, response.headers)
    moved = [former.status_code for former in response.history]  # a redirected POST becomes a GET
    if moved or not 200 <= response.status_code < 300:
        raise ApplyError(f"{what}: {[*moved, response.status_code][0]}: {NOT_DATADOG}")
    return answer


def changed(method: str, path: str, body: Json) -> Json:
    """Create or change an object, and return it. Raises ApplyError if the API returns none."""
    answer = call(method, path, body)
    if not isinstance(answer, dict) or (method == "POST" and not answer.get("id")):
        raise ApplyError(f"{method} {path}: {NOT_DATADOG}")
    return answer


def _refusal(what: str, status: int, answer: Any, headers: Mapping[str, str]) -> RefusedError:
    errors = answer.get("errors") if isinstance(answer, dict) else None
    reasons = errors if isinstance(errors, list) else [errors]
    text = _one_line("; ".join(str(each) for each in reasons if each)) or "no reason given"
    if status == 404:
        return NotFoundError(f"{what}: not found: {text}")
    if status in (401, 403):
        hint = "check DD_API_KEY, DD_APP_KEY and what it may do, and that DD_SITE is theirs"
    elif status == 429:
        hint = f"try again in {headers.get('X-RateLimit-Reset', 'some')} s"
    else:
        hint = "Datadog does not take it"
    return RefusedError(f"{what}: {status}: {text} ({hint})")


def _one_line(text: str) -> str:
    return " ".join(text.split())
