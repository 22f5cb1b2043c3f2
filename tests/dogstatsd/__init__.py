"""Tests of ``gunicorn_backlog.dogstatsd``."""
