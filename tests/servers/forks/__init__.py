"""Tests of real servers: forks."""
