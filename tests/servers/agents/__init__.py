"""Tests of real servers: agents."""
