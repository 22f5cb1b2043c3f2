"""A gunicorn config with gunicorn_backlog. Copy it, or copy one of the two ways into yours."""

# A config without hooks of its own imports the three hooks: when_ready, post_worker_init, on_exit.
from gunicorn_backlog.hooks import *

# A config with hooks of its own leaves that import out, and ends with these two lines. Each hook of
# the config is kept: it runs first, and then ours.
#
# from gunicorn_backlog import hooks
# hooks.install(globals())

# Settings, each with its default. The environment variable beside it has precedence, so that a
# deployment can override the file.
#
# from gunicorn_backlog import configure
#
# configure(
#     enabled=True,              # GUNICORN_BACKLOG_ENABLED   False: the hooks do nothing
#     interval=1.0,              # GUNICORN_BACKLOG_INTERVAL  seconds between two pushes, 0.1 to 60
#     samples=10,                # GUNICORN_BACKLOG_SAMPLES   samples per interval, 1 to 100
#     url=None,                  # GUNICORN_BACKLOG_URL       "udp://localhost:8125",
#                                #   "unix:///var/run/datadog/dsd.socket"; None: DD_DOGSTATSD_URL,
#                                #   DD_AGENT_HOST and DD_DOGSTATSD_PORT, or gunicorn's statsd_host
#     tags=[],                   # GUNICORN_BACKLOG_TAGS      ["team:web", "tier:1"]
#     backlog_type="histogram",  # GUNICORN_BACKLOG_TYPE      "histogram", "distribution", "gauge"
# )
