"""Tests of ``gunicorn_backlog.sampling``."""
