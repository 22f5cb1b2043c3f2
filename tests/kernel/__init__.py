"""Tests of ``gunicorn_backlog.kernel``."""
