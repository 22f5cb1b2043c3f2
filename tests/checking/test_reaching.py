"""Whether a hook of a config's own is seen to call one of ours."""

from __future__ import annotations

from typing import Any

import pytest

from gunicorn_backlog.checking.reaching import reaches

CONFIG = """
import functools, importlib, logging
from functools import partial
from gunicorn_backlog import hooks

def call(function, worker):
    function(worker)

def helper(worker):
    hooks.post_worker_init(worker)

def wrapped(function):
    @functools.wraps(function)
    def wrapper(worker):
        function(worker)
    return wrapper

def closed_over(function):
    def wrapper(worker):
        function(worker)
    return wrapper

def own(worker):
    logging.info(worker)

class Own:
    def go(self, worker):
        hooks.post_worker_init(worker)

    def __call__(self, worker):
        self.go(worker)

instance, part = Own(), partial(call, hooks.post_worker_init)

def method(worker):
    instance.go(worker)

def of_class(worker):
    Own().go(worker)

def of_part(worker):
    part(worker)

def imports(worker):
    from gunicorn_backlog.hooks import post_worker_init
    post_worker_init(worker)

def imports_by_text(worker):
    importlib.import_module("gunicorn_backlog.hooks").post_worker_init(worker)

def of_instance(worker):
    instance(worker)

def itself(worker):
    if worker:
        itself(None)
"""


@pytest.mark.parametrize(
    ("hook", "expected"),
    [
        *((it, True) for it in ("helper", "method", "of_class", "part", "of_part", "imports")),
        *((it, True) for it in ("partial(helper)", "instance.go", "wrapped(helper)")),
        *((f"{it}(hooks.post_worker_init)", True) for it in ("wrapped", "closed_over", "partial")),
        *((it, False) for it in ("own", "wrapped(own)", "partial(own)", "lambda worker: None")),
        *((it, None) for it in ("imports_by_text", "instance", "of_instance", "itself")),
    ],
)
def test_reaches(hook: str, expected: bool | None) -> None:
    """By a name, through helpers and what wraps them; or it can't be told."""
    config: dict[str, Any] = {"__name__": "config"}
    exec(CONFIG, config)
    assert reaches(eval(hook, config)) is expected
