"""import_apart: in processes of their own, for what is imported stays."""

from __future__ import annotations

import subprocess
import sys

APART = "from gunicorn_backlog.dogstatsd import DogStatsd, import_apart\n"


def run(program: str) -> str:
    """Return what a program prints."""
    command = [sys.executable, "-W", "error", "-c", program]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_nobody_else_sees_it() -> None:
    """Neither the package nor what it did without is there; who imports it gets all of it."""
    program = APART + (
        "import sys; print({'datadog', 'requests', 'urllib3'} & set(sys.modules))\n"
        "import datadog.dogstatsd.base as base; print(base.DogStatsd is DogStatsd)\n"
        "import requests; from datadog.api import http_client\n"
        "print(http_client.requests is requests)"
    )
    assert run(program).splitlines() == ["set()", "False", "True"]


def test_what_is_there_is_shared() -> None:
    """If the app was loaded before there is one package, and it is whole."""
    program = (
        "import datadog, requests\n"
        + APART
        + "print(DogStatsd is datadog.dogstatsd.base.DogStatsd, "
        "datadog.api.http_client.requests is requests)"
    )
    assert run(program) == "True True"


def test_other_threads_find_what_is_refused_to_us() -> None:
    """Only the thread that imports apart goes without."""
    program = (
        "import sys, threading\n"
        "from gunicorn_backlog.import_apart import _Refusal\n"
        "sys.meta_path.insert(0, _Refusal({'colorsys'}))\n"
        "thread = threading.Thread(target=lambda: print(__import__('colorsys').__name__))\n"
        "thread.start(); thread.join(); del sys.modules['colorsys']\n"
        "try:\n    import colorsys\nexcept ModuleNotFoundError as error:\n    print(error)"
    )
    assert run(program).splitlines() == ["colorsys", "No module named 'colorsys'"]
