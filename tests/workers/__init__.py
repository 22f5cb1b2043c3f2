"""Tests of ``gunicorn_backlog.workers``."""
