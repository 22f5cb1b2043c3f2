"""Tests of real servers: reload."""
