"""Tests that look into running servers from another process."""
