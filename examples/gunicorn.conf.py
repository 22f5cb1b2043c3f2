"""A gunicorn config with gunicorn_backlog: copy it, or copy the one import into yours."""

from gunicorn_backlog.hooks import *  # when_ready, post_worker_init and on_exit, nothing else

# Settings, each with its default. The environment variable beside it comes first, so that a
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

# If you have hooks of your own, call ours from yours, in any order:
#
# from gunicorn_backlog import hooks
#
# def when_ready(server):
#     hooks.when_ready(server)
#     ...
#
# def post_worker_init(worker):
#     hooks.post_worker_init(worker)
#     ...
#
# def on_exit(server):
#     hooks.on_exit(server)
#     ...
