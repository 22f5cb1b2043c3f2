"""Event loops: the time that a loop runs, and the lateness of a timer in the loop."""
