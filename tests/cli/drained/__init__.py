"""Tests of the command ``drained``."""
