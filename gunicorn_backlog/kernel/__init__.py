"""Kernel interfaces: decoders (bytes to values) and one system call each."""
