"""Tests of ``gunicorn_backlog.cli.status``."""
