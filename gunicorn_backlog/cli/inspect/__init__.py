"""Read-only inspection of a running server from another process."""
