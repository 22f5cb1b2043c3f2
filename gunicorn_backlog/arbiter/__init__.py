"""The thread in the arbiter, its schedule, the fork gate, and reloads."""
