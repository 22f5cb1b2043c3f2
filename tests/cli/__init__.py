"""Tests of ``gunicorn_backlog.cli``: inspection of running servers from another process."""
