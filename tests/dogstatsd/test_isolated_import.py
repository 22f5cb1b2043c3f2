"""import_apart: in processes of their own, for what is imported stays."""

from __future__ import annotations

import subprocess
import sys

APART = "from gunicorn_backlog.dogstatsd.serializer import DogStatsd, import_apart\n"


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


def test_nothing_of_it_is_told_of_forks() -> None:
    """What others register meanwhile is registered, also in another thread; then all is as ever."""
    program = (
        "import gunicorn.arbiter, os, threading\n"
        "told = []\n"
        "os.register_at_fork = lambda **handlers: told.extend(sorted(handlers))\n"
        "import sys; from gunicorn_backlog.dogstatsd.isolated_import import _not_told_of_forks\n"
        "sys.modules['datadog.part'] = part = type(sys)('datadog.part')\n"
        "with _not_told_of_forks('datadog'):\n"
        "    exec('import os; os.register_at_fork(before=print)', vars(part))\n"
        "    thread = threading.Thread(target=lambda: os.register_at_fork(after_in_child=print))\n"
        "    thread.start(); thread.join()\n"
        "    os.register_at_fork(after_in_parent=print)\n"
        "print(told)\n" + APART + "print(told)"
    )
    told = "['after_in_child', 'after_in_parent']"
    assert run(program).splitlines() == [told, told]


def test_a_shared_one_is_told_of_forks() -> None:
    """If the app was loaded before, its client's handlers are the app's to have."""
    program = (
        "import gunicorn.arbiter, os\n"
        "told = []\n"
        "os.register_at_fork = lambda **handlers: told.append(handlers['after_in_child'])\n"
        "import datadog\n" + APART + "print({handler.__module__ for handler in told})"
    )
    assert "'datadog.dogstatsd.base'" in run(program)


def test_only_its_own_modules_are_imported() -> None:
    """Neither the package's own ``__init__`` nor what it wants is run."""
    program = (
        "import calendar, sys, gunicorn.arbiter, gunicorn_backlog.arbiter.monitor\n"
        "there = set(sys.modules)\n" + APART + "new = set(sys.modules) - there\n"
        "print({name for name in new if not name.startswith('gunicorn_backlog')})"
    )
    assert eval(run(program)) == set()


def test_there_is_no_such_package() -> None:
    """An ImportError says so."""
    program = (
        "from gunicorn_backlog.dogstatsd.isolated_import import import_apart\n"
        "try:\n    import_apart('no_such.thing')\nexcept ImportError as error:\n    print(error)"
    )
    assert run(program) == "No module named 'no_such'"


def test_another_thread_imports_it_meanwhile() -> None:
    """It finds the part, waits, and has the whole: also by the name that it keeps for good."""
    program = (
        "import threading; from gunicorn_backlog.dogstatsd.isolated_import import _part_of\n"
        "said = []\n"
        "def app():\n"
        "    import datadog; from datadog import statsd; said.append(datadog)\n"
        "thread = threading.Thread(target=app)\n"
        "with _part_of('datadog'):\n"
        "    import datadog; print(hasattr(datadog, 'statsd'))\n"
        "    thread.start(); thread.join(0.2); print(thread.is_alive())\n"
        "thread.join(); import datadog\n"
        "print(said[0] is datadog, said[0].statsd is datadog.statsd)"
    )
    assert run(program).splitlines() == ["False", "True", "False True"]


def test_another_thread_is_importing_it_already() -> None:
    """All of it is waited for, and shared."""
    program = (
        "import sys, threading\n"
        "thread = threading.Thread(target=__import__, args=['datadog'])\n"
        "thread.start()\n"
        "while 'datadog' not in sys.modules: pass\n" + APART + "import datadog\n"
        "print(datadog.DogStatsd is DogStatsd); thread.join()"
    )
    assert run(program) == "True"
