"""``gunicorn-backlog check``: what can be measured here, and what can't, each with its remedy."""
