"""A gunicorn config with gunicorn_backlog: copy the file, or one of the two ways below."""

# Without hooks of its own, a config imports the three hooks: when_ready, post_worker_init, on_exit.
from gunicorn_backlog.hooks import *

# With hooks of its own, a config ends with the next two lines instead. Each own hook is kept and
# runs before the added hook.
#
# from gunicorn_backlog import hooks
# hooks.install(globals())

# Settings with their defaults. The environment variable on the right has precedence: a deployment
# can override the file.
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
#     metrics=["backlog", "workers", "threads", "requests", "wait", "loop"],
#                                # GUNICORN_BACKLOG_METRICS   the groups to push; all by default
# )
