"""Errors of an inspection; the text of each is one line for the user."""

from __future__ import annotations


class InspectError(Exception):
    """The server can't be inspected; the text gives the reason.

    code: the command's exit code.
    """

    def __init__(self, text: str, code: int = 1) -> None:
        super().__init__(text)
        self.code = code


class EndedError(InspectError):
    """The server has ended."""

    def __init__(self, pid: int) -> None:
        super().__init__(f"the server with the pid {pid} has ended")
