"""Tests of how workers are watched."""
