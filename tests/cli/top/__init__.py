"""Tests of ``gunicorn_backlog.cli.top``."""
