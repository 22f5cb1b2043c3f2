"""The command ``drained``: wait until a server has no request left."""
