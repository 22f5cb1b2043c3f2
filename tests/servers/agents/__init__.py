"""Tests of real servers and their Agents."""
