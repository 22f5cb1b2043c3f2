"""Kernel interfaces: decoders (bytes to values) and one question to the kernel each."""
