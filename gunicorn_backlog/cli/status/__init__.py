"""The command ``status``: a snapshot as text or JSON."""
