"""Tests of real servers: shutdown."""
