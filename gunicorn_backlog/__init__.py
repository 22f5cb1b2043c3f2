"""See how full a gunicorn server is: backlog and worker saturation, pushed to Datadog."""

from gunicorn_backlog.config.configure import configure
from gunicorn_backlog.config.settings import ConfigError

__all__ = ["ConfigError", "__version__", "configure"]

__version__ = "0.1.0"
