"""What can go wrong when one looks at a server: each is one line for the user."""

from __future__ import annotations


class InspectError(Exception):
    """The server can't be looked at; says why."""


class EndedError(InspectError):
    """The server has ended."""

    def __init__(self, pid: int) -> None:
        super().__init__(f"the server with the pid {pid} has ended")
