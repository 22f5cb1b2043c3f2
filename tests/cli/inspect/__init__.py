"""Tests of ``gunicorn_backlog.cli.inspect``."""
