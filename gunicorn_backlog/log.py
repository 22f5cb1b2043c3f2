"""Lines for gunicorn's error log: one line per key, however often its cause occurs."""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

if TYPE_CHECKING:
    from gunicorn_backlog._gunicorn import Log

T = TypeVar("T")

EXPIRY_S = 120.0  # twice the longest interval


class _Line(NamedTuple):
    """A logged line; ``level`` is the name of the logger's method."""

    level: str
    text: str
    expires_s: float  # monotonic clock; infinite until a reset
    reloads: int  # before the line was logged


class OnceLogger:
    """Logs one line per key.

    A warning is in force until its key is reset. Without ``until_reset`` a warning also expires
    EXPIRY_S after its latest occurrence. A reload clears expired lines, which can then be logged
    again. After a reload a line that is in force is logged again only with another text.

    In the arbiter a logger may run user code: a handler or a ``logger_class``. User code may block
    or fork. Therefore ``defer`` keeps all further lines until the main thread calls ``flush``,
    outside of the fork gate.
    """

    def __init__(
        self, logger: Log | None = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._logger: Log = logger or logging.getLogger("gunicorn.error")
        self._clock = clock
        self._lines: dict[str, _Line] = {}
        self._reloads = 0
        self._deferring = False
        self._deferred: deque[tuple[str, str, dict[str, Any]]] = deque()  # level, text, arguments

    def attach(self, logger: Log | None) -> None:
        """Log to this logger from now on; None keeps the former logger."""
        self._logger = logger or self._logger

    def defer(self) -> None:
        """Keep all further lines until ``flush``."""
        self._deferring = True

    def flush(self) -> None:
        """Log the deferred lines. Only the arbiter's main thread may call this method."""
        while self._deferred:
            self._log(*self._deferred.popleft())

    def after_fork_in_child(self) -> None:
        """Drop the arbiter's deferred lines; a worker logs its own lines at once."""
        self._deferring = False
        self._deferred.clear()

    def warn(self, key: str, text: str, *, until_reset: bool = False) -> None:
        """Log a warning, unless a line with this key was logged.

        :param until_reset: the warning does not expire.
        """
        self._log_once("warning", key, text, math.inf if until_reset else EXPIRY_S)

    def warn_each(self, key: str, texts: Iterable[str]) -> None:
        """Log one warning per text; reset each former warning of this key without its text."""
        keys = {f"{key}: {text}": text for text in texts}
        for former in tuple(self._lines):
            if former.startswith(f"{key}: ") and former not in keys:
                self.reset(former)
        for each, text in keys.items():
            self.warn(each, text, until_reset=True)

    def inform(self, key: str, text: str) -> None:
        """Log a line at level INFO, unless a line with this key was logged."""
        self._log_once("info", key, text, math.inf)

    def exception(self, action: str, error: BaseException) -> None:
        """Log an exception of ours with its traceback, once per action and type of error."""
        text = f"{action} failed, {error!r}; gunicorn is not affected"
        key = f"{action}: {type(error).__name__}"
        self._log_once("error", key, text, math.inf, exc_info=error)

    def was_logged(self, key: str) -> bool:
        """Return whether a line with this key was logged and not cleared since."""
        return key in self._lines

    @property
    def warnings(self) -> tuple[str, ...]:
        """The texts of all warnings and errors in force."""
        lines = [line for line in self._lines.values() if self._is_in_force(line)]
        return tuple(line.text for line in lines if line.level != "info")

    def reset(self, key: str) -> None:
        """Clear the line with this key; its next occurrence is logged."""
        self._lines.pop(key, None)

    def reloaded(self) -> None:
        """Clear the lines that are no longer in force; others are logged again with a new text."""
        self._lines = {k: line for k, line in self._lines.items() if self._is_in_force(line)}
        self._reloads += 1

    def _is_in_force(self, line: _Line) -> bool:
        return self._clock() <= line.expires_s

    def _log_once(self, level: str, key: str, text: str, lasts_s: float, **arguments: Any) -> None:
        expires_s = self._clock() + lasts_s
        former = self._lines.get(key)
        if former is not None and (former.reloads == self._reloads or former.text == text):
            self._lines[key] = former._replace(expires_s=expires_s)
            return
        self._lines[key] = _Line(level, text, expires_s, self._reloads)
        # A text may quote a worker class, a path or a variable, which may have line breaks.
        printable = "".join(char if char.isprintable() else " " for char in text)
        self._deferred.append((level, f"gunicorn_backlog: {printable}", arguments))
        if not self._deferring:
            self.flush()

    def _log(self, level: str, text: str, arguments: dict[str, Any]) -> None:
        # Only methods that gunicorn calls: a logger_class may lack others. Its handlers may raise.
        with suppress(Exception):
            getattr(self._logger, level)(text, **arguments)


def log_errors(logger: OnceLogger, action: str, step: Callable[[], T]) -> T | None:
    """Return the step's result; None after an exception, logged as "``action`` failed"."""
    try:
        return step()
    except Exception as error:
        logger.exception(action, error)
        return None
