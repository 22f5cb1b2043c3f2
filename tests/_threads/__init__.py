"""Tests of ``gunicorn_backlog._threads``."""
