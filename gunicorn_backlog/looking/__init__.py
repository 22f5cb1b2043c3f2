"""Looking into a running server from another process; the server knows nothing of it.

Nothing here is imported by the hooks. What is opened is opened to be read only, and what is asked
is asked of the kernel.
"""
