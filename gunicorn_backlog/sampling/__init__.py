"""Samples of listeners and workers, and the summary of an interval."""
