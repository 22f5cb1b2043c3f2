"""Benchmarks of the cost of gunicorn_backlog; see README.md."""
