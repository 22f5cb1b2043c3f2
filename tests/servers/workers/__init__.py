"""Tests of real servers: workers."""
