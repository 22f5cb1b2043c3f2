"""``python -m gunicorn_backlog``: the command ``gunicorn-backlog``."""

import sys

from gunicorn_backlog.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
