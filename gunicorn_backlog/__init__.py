"""Backlog and worker saturation of a gunicorn server, pushed to Datadog."""

from gunicorn_backlog.config.configure import configure
from gunicorn_backlog.config.settings import ConfigError
from gunicorn_backlog.workers.exposed_wait import waited_ms

__all__ = ["ConfigError", "__version__", "configure", "waited_ms"]

__version__ = "0.2.0"
