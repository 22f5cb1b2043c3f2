"""Tests of real servers: listeners."""
