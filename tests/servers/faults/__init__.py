"""Tests of real servers: faults."""
