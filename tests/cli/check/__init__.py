"""Tests of ``gunicorn_backlog.cli.check``."""
