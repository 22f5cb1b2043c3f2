"""The READMEs, followed step by step: from the package to an alert.

The account is a stand-in, and time a time-lapse; the server, its pushes and the commands are real.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from agent import StandInAgent

from tests.conftest import ServerFactory
from tests.datadog.agent_flush import Received
from tests.datadog.applying import run
from tests.datadog.evaluator import ALERT, KNOWN_OPTIONS, evaluate
from tests.datadog.files import FOLDER
from tests.datadog.standin_api import StandInApi
from tests.lab.gunicorn_versions import Gunicorn
from tests.lab.pushes import latest, wait_until_all_are_idle
from tests.lab.sandbox import ROOT
from tests.lab.time_lapse import INTERVAL_S, minutes
from tests.lab.waiting import wait_for

MINUTES = 11  # the longest window of a monitor is ten
WAITING = 3  # connections in the backlog, beside one request for each of two workers


def blocks(readme: Path, language: str) -> list[str]:
    """Return a README's code blocks in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", readme.read_text(), re.M | re.S)


def arguments_of_apply() -> Iterator[list[str]]:
    """Yield the arguments of each ``apply.py`` in the first commands of the folder's README."""
    for line in blocks(FOLDER / "README.md", "sh")[0].splitlines():
        command = shlex.split(line, comments=True)
        if command[0] == "python":
            assert command[1] == "examples/datadog/apply.py"
            yield command[2:]


def alerts(api: StandInApi, got: Received) -> set[str]:
    """Return the names of the account's monitors that alert at the end."""
    return {
        monitor["name"]
        for monitor in api.monitors.values()
        if ALERT in evaluate(known(monitor), got, got.until_s).values()
    }


def known(monitor: dict[str, Any]) -> dict[str, Any]:
    """Return a monitor without the options that the account has added."""
    options = {name: it for name, it in monitor["options"].items() if name in KNOWN_OPTIONS}
    return monitor | {"options": options}


def test_from_the_package_to_an_alert(
    newest: Gunicorn, serve: ServerFactory, agent: StandInAgent
) -> None:
    """Two lines of config, two variables, two commands; then saturation alerts, and idling not."""
    assert blocks(ROOT / "README.md", "sh")[0] == "pip install gunicorn_backlog\n"
    environ = {"GUNICORN_BACKLOG_URL": agent.url, "GUNICORN_BACKLOG_INTERVAL": str(INTERVAL_S)}
    server = serve(
        newest,
        config=blocks(ROOT / "README.md", "python")[0],
        environ=environ | {"DD_ENV": "prod", "DD_SERVICE": "shop"},
    ).wait_until_it_serves()
    wait_until_all_are_idle(agent)
    idle = minutes(agent, MINUTES)
    with StandInApi() as api:
        api.receive(*{series.metric for series in idle.series})
        dry, real = arguments_of_apply()
        assert run(api.url, *dry).returncode == 0
        assert api.monitors == {}
        done = run(api.url, *real)
        assert done.returncode == 0, done.stderr
        assert all(real[-1] in monitor["message"] for monitor in api.monitors.values())
        assert alerts(api, idle) == set()

        server.hold(2 + WAITING)
        wait_for("a queue", lambda: min(latest(agent).values("gunicorn.backlog")) == WAITING)
        assert alerts(api, minutes(agent, MINUTES)) == {
            "[gunicorn] Workers are saturated",
            "[gunicorn] Backlog does not drain",
        }
