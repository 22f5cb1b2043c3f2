"""Tests of ``gunicorn_backlog.metrics``."""
