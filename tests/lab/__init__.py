"""Tools of the tests that run real servers."""
