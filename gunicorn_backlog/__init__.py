"""Backlog and worker saturation of a gunicorn server, pushed to Datadog."""

from gunicorn_backlog.config.configure import configure
from gunicorn_backlog.config.settings import ConfigError

__all__ = ["ConfigError", "__version__", "configure"]

__version__ = "0.2.0"
