"""Instrumentation of each worker family, one module per family."""
