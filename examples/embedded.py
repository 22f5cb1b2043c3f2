"""gunicorn embedded in a program, without a config file and without GUNICORN_CMD_ARGS.

    python examples/embedded.py 127.0.0.1:8000

``hooks.install`` adds the hooks to the gunicorn settings of the program.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from app import app
from gunicorn.app.base import BaseApplication

from gunicorn_backlog import hooks


class Embedded(BaseApplication):  # type: ignore[misc]  # gunicorn has no types
    """gunicorn with settings from a dictionary."""

    def __init__(self, wsgi: Callable[..., Any], options: dict[str, Any]) -> None:
        """Take a WSGI app, and gunicorn settings by name."""
        self.wsgi_app = wsgi
        self.options = hooks.install(options)
        super().__init__()

    def load_config(self) -> None:
        """Apply the settings; gunicorn calls this method at its start and at each SIGHUP."""
        for name, value in self.options.items():
            self.cfg.set(name, value)

    def load(self) -> Callable[..., Any]:
        """Return the app."""
        return self.wsgi_app


if __name__ == "__main__":
    bind = sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:8000"
    Embedded(app, {"bind": bind, "workers": 2}).run()
