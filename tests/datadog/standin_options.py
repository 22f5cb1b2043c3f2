"""A monitor's options as the stand-in accepts and returns them, after the real API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

ANSWERED: dict[str, Any] = {
    "silenced": {},
    "locked": False,
    "notify_no_data": False,
    "new_host_delay": 300,
}


def options_refused(monitor: Mapping[str, Any]) -> list[str]:
    """Return the reasons for which the API refuses the options.

    ``default_zero``: terraform-provider-datadog, issue 2815. Two delays: grosser/kennel, pull
    request 138.
    """
    options, wrong = monitor["options"], []
    missing = options.get("on_missing_data", "default")
    if {"on_missing_data", "notify_no_data"} <= options.keys():
        wrong.append("on_missing_data goes without notify_no_data")
    if "default_zero(" in monitor["query"] and missing != "default":
        wrong.append(f"Invalid on_missing_data value: {missing}; valid value is: default")
    if {"new_group_delay", "new_host_delay"} <= options.keys():
        wrong.append("new_group_delay goes without new_host_delay")
    return wrong


def options_answered(monitor: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options with defaults; a service check lacks a true ``include_tags``.

    The latter: grosser/kennel, ``lib/kennel/models/monitor.rb``.
    """
    options: dict[str, Any] = ANSWERED | monitor["options"]
    if monitor["type"] == "service check" and options.get("include_tags"):
        del options["include_tags"]
    return options
