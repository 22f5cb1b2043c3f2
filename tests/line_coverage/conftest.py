"""Python before 3.12 has no ``sys.monitoring``, and records no coverage."""

import sys

collect_ignore = ["test_line_coverage.py"] if sys.version_info < (3, 12) else []
