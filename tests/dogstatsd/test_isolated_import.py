"""Tests of ``isolated_import``, each in a process of its own, because imported modules stay."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress

import pytest

from gunicorn_backlog.dogstatsd.isolated_import import _variables
from tests.lab.gunicorn_versions import Gunicorn

ISOLATED = "from gunicorn_backlog.dogstatsd.serializer import DogStatsd, isolated_import\n"


def run(program: str, environ: dict[str, str] | None = None) -> str:
    """Return the output of a program."""
    command = [sys.executable, "-W", "error", "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environ)
    return done.stdout.strip()


def test_the_app_gets_a_complete_package_of_its_own() -> None:
    """The package and the requirements of its other modules are absent afterwards."""
    program = ISOLATED + (
        "import sys; print({'datadog', 'requests', 'urllib3'} & set(sys.modules))\n"
        "import datadog.dogstatsd.base as base; print(base.DogStatsd is DogStatsd)\n"
        "import requests; from datadog.api import http_client\n"
        "print(http_client.requests is requests)"
    )
    assert run(program).splitlines() == ["set()", "False", "True"]


def test_an_imported_package_is_shared() -> None:
    """An app that was loaded before and our code use one complete package."""
    program = (
        "import datadog, requests\n"
        + ISOLATED
        + "print(DogStatsd is datadog.dogstatsd.base.DogStatsd, "
        "datadog.api.http_client.requests is requests)"
    )
    assert run(program) == "True True"


@pytest.mark.parametrize("setting", [{}, {"DD_DOGSTATSD_DISABLE_FORK_SUPPORT": ""}])
def test_no_fork_handler_is_registered(setting: dict[str, str], gunicorn: Gunicorn) -> None:
    """The oldest and the newest client register no fork handler; the environment is as before."""
    program = (
        "import concurrent.futures.thread, logging, os, random\n"
        "registered, before = [], dict(os.environ)\n"
        "os.register_at_fork = lambda **handlers: registered.append(handlers)\n"
        + ISOLATED
        + "print(registered, dict(os.environ) == before)"
    )
    assert run(program, gunicorn.environ() | setting) == "[] True"


def test_fork_handlers_of_a_shared_package_stay() -> None:
    """The handlers that an app's own import registers are left in place."""
    program = (
        "import gunicorn.arbiter, os\n"
        "registered = []\n"
        "os.register_at_fork = lambda **handlers: registered.append(handlers['after_in_child'])\n"
        "import datadog\n" + ISOLATED + "print({it.__module__ for it in registered})"
    )
    assert "'datadog.dogstatsd.base'" in run(program)


def test_variables_are_restored_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """``os.environ`` changes for a moment; the environment that children inherit does not."""
    monkeypatch.setenv("LAB", "value")
    monkeypatch.delenv("LAB_2", raising=False)
    before = dict(os.environ)
    with suppress(ValueError), _variables({"LAB": None, "LAB_2": "2", "LAB_3": None}):
        assert ("LAB" in os.environ, os.environ["LAB_2"]) == (False, "2")
        assert subprocess.run(["printenv", "LAB"], check=True, capture_output=True).stdout
        assert subprocess.run(["printenv", "LAB_2"], check=False, capture_output=True).returncode
        raise ValueError
    assert dict(os.environ) == before


def test_only_its_own_modules_are_imported() -> None:
    """Neither the package's own ``__init__`` nor its requirements are imported."""
    program = (
        "import calendar, sys, gunicorn.arbiter, gunicorn_backlog.arbiter.monitor\n"
        "there = set(sys.modules)\n" + ISOLATED + "new = set(sys.modules) - there\n"
        "print({name for name in new if not name.startswith('gunicorn_backlog')})"
    )
    assert eval(run(program)) == set()


def test_a_missing_package() -> None:
    """The ImportError names the package."""
    program = (
        "from gunicorn_backlog.dogstatsd.isolated_import import isolated_import\n"
        "try:\n    isolated_import('no_such.thing', {})\n"
        "except ImportError as error:\n    print(error)"
    )
    assert run(program) == "No module named 'no_such'"


def test_an_import_in_another_thread() -> None:
    """An import that another thread began is awaited, and its package is shared."""
    program = (
        "import sys, threading\n"
        "thread = threading.Thread(target=__import__, args=['datadog'])\n"
        "thread.start()\n"
        "while 'datadog' not in sys.modules: pass\n" + ISOLATED + "import datadog\n"
        "print(datadog.DogStatsd is DogStatsd); thread.join()"
    )
    assert run(program) == "True"
