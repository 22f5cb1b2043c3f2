"""The metric catalog, and an interval's summary as points."""
