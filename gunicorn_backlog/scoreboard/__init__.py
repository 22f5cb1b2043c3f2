"""Shared memory with one slot per worker: layout, allocation, reader."""
