"""The command ``advise``: how many workers, threads or CPUs are enough."""
