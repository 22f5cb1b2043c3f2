"""The command ``gunicorn-backlog``."""
