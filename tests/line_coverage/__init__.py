"""Coverage by lines of the package in all processes, also of those that end by SIGKILL."""
