"""Tests of real servers: startup."""
