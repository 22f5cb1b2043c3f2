"""Tests of ``gunicorn_backlog.config``."""
