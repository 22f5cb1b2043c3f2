"""Tests of ``gunicorn_backlog.scoreboard``."""
