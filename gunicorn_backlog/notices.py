"""Our lines in gunicorn's error log: each kind once, however often its cause comes back."""

from __future__ import annotations

import logging
from contextlib import suppress


class Notices:
    """Says each kind of thing once.

    It writes to gunicorn's logger itself, not through ``server.log``: gunicorn's statsd logger
    sends a metric for each warning, and may wait for the Agent to take it.
    """

    def __init__(self, logger: logging.Logger | None = None) -> None:
        self._logger = logger or logging.getLogger("gunicorn.error")
        self._said: dict[str, tuple[int, str]] = {}  # level and text
        self._before_reload: set[str] = set()

    def warn(self, kind: str, text: str) -> None:
        """Log a warning, unless one of this kind was logged."""
        self._say(logging.WARNING, kind, text)

    def inform(self, kind: str, text: str) -> None:
        """Log a piece of information, unless one of this kind was logged."""
        self._say(logging.INFO, kind, text)

    def failed(self, what: str, error: BaseException) -> None:
        """Log a defect of ours with its traceback, once for each place and type of error."""
        kind = f"{what}: {type(error).__name__}"
        text = f"{what} failed, {error!r}; gunicorn is not affected"
        self._say(logging.ERROR, kind, text, exc_info=error)

    def was_said(self, kind: str) -> bool:
        """Tell whether this kind was logged, and not forgotten since."""
        return kind in self._said

    @property
    def warnings(self) -> tuple[str, ...]:
        """Return what was said as a warning, or worse, and not forgotten since."""
        said = list(self._said.values())
        return tuple(text for level, text in said if level >= logging.WARNING)

    def forget(self, kind: str) -> None:
        """Let this kind be said again."""
        self._said.pop(kind, None)

    def reloaded(self) -> None:
        """Let what the new config changed be said again: each kind whose text is another now."""
        self._before_reload = set(self._said)

    def _say(self, level: int, kind: str, text: str, exc_info: BaseException | None = None) -> None:
        if kind in self._said and (
            kind not in self._before_reload or self._said[kind] == (level, text)
        ):
            return
        self._said[kind] = level, text
        self._before_reload.discard(kind)
        # What is told may be named by others: a worker class, a path, a variable.
        line = "".join(it if it.isprintable() else " " for it in text)
        with suppress(Exception):  # of a user's own handler
            self._logger.log(level, "gunicorn_backlog: %s", line, exc_info=exc_info)
