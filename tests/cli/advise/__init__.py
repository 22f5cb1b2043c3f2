"""Tests of the command ``advise``."""
