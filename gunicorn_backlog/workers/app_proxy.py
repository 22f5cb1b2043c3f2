"""Replacement of a worker's app, right before the worker runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class AppProxy:
    """A proxy of an app: the attributes are the app's, and calls go to ``call``."""

    def __init__(self, app: Any, call: Callable[..., Any]) -> None:
        self._app = app
        self._call = call

    def __call__(self, *args: Any, **named: Any) -> Any:
        """Call ``call``."""
        return self._call(*args, **named)

    def __getattr__(self, name: str) -> Any:
        """Return the app's attribute."""
        if name == "_app":  # copy.copy looks up attributes before _app is set
            raise AttributeError(name)
        return getattr(self._app, name)


def before_run(worker: Any, wrap: Callable[[], object]) -> None:
    """Call ``wrap`` when gunicorn runs the worker, after all hooks.

    The user's hooks run before, and receive the worker unchanged.
    """
    run = worker.run

    def run_wrapped() -> None:
        wrap()
        run()

    worker.run = run_wrapped
