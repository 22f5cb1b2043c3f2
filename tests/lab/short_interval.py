"""Intervals below the setting's lower bound of 0.1 s, for tests that wait for pushes."""

from __future__ import annotations

from tests.lab.server import CONFIG

# Text for the beginning of a config file. The bound is read when a value is checked.
SHORT_INTERVALS = "from gunicorn_backlog.config import options\noptions.INTERVAL_S = (0.01, 60.0)\n"
SHORT_CONFIG = SHORT_INTERVALS + CONFIG
EVERY_20_MS = {"GUNICORN_BACKLOG_INTERVAL": "0.02", "GUNICORN_BACKLOG_SAMPLES": "2"}
EVERY_50_MS = EVERY_20_MS | {"GUNICORN_BACKLOG_INTERVAL": "0.05"}  # of servers that run for long
