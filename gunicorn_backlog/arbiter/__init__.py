"""The arbiter's thread, its schedule, the fork gate, reloads."""
