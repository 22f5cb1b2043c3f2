"""Tests of ``gunicorn_backlog.arbiter``."""
