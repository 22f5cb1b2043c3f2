"""Our lines in gunicorn's error log: each kind once, however often its cause comes back."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from gunicorn_backlog._gunicorn import Log

# What was not to be said again for so long is over: twice the longest interval.
EXPIRY_S = 120.0


class _Line(NamedTuple):
    """One line for the log; ``error`` has the traceback, if there is one."""

    level: int
    text: str
    error: BaseException | None


class OnceLogger:
    """Logs each kind of line once.

    In the arbiter a logger may run code of the user's: a handler, or a ``logger_class``. Such code
    may block, or fork. Therefore lines are kept while ``defer`` is in force, and logged by
    ``flush`` in the main thread, outside the fork gate.
    """

    def __init__(
        self,
        logger: Log | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._logger: Log = logger or logging.getLogger("gunicorn.error")
        self._clock = clock
        self._lines: deque[_Line] = deque()
        self._deferring = False
        self._said: dict[str, tuple[int, str]] = {}  # level and text
        self._latest_s: dict[str, float] = {}  # when it was to be said last; not of what lasts
        self._before_reload: set[str] = set()

    def attach(self, logger: Log | None) -> None:
        """Log through this logger from now on; None: through the one in force."""
        self._logger = logger or self._logger

    def defer(self) -> None:
        """Keep all further lines until ``flush``."""
        self._deferring = True

    def flush(self) -> None:
        """Log the lines that were kept; call it in the arbiter's main thread."""
        while self._lines:
            self._log(self._lines.popleft())

    def after_fork_in_child(self) -> None:
        """Leave the arbiter's lines to the arbiter; a worker's main thread logs its own at once."""
        self._deferring = False
        self._lines.clear()

    def warn(self, kind: str, text: str, *, until_reset: bool = False) -> None:
        """Log a warning, unless one of this kind was logged.

        :param until_reset: it holds until it is forgotten; else for as long as it is warned of.
        """
        self._say(logging.WARNING, kind, text, until_reset=until_reset)

    def warn_each(self, kind: str, texts: Iterable[str]) -> None:
        """Warn of each for itself, lasting; forget those of this kind that are not among them."""
        kinds = {f"{kind}: {text}": text for text in texts}
        for gone in [it for it in self._said if it.startswith(f"{kind}: ") and it not in kinds]:
            self.reset(gone)
        for each, text in kinds.items():
            self.warn(each, text, until_reset=True)

    def inform(self, kind: str, text: str) -> None:
        """Log a piece of information, unless one of this kind was logged."""
        self._say(logging.INFO, kind, text, until_reset=True)

    def exception(self, what: str, error: BaseException) -> None:
        """Log a defect of ours with its traceback, once for each place and type of error."""
        kind = f"{what}: {type(error).__name__}"
        text = f"{what} failed, {error!r}; gunicorn is not affected"
        self._say(logging.ERROR, kind, text, exc_info=error, until_reset=True)

    def was_logged(self, kind: str) -> bool:
        """Tell whether this kind was logged, and not forgotten since."""
        return kind in self._said

    @property
    def warnings(self) -> tuple[str, ...]:
        """Return what was said as a warning, or worse, and is neither forgotten nor over."""
        said = [it for kind, it in self._said.items() if not self._is_over(kind)]
        return tuple(text for level, text in said if level >= logging.WARNING)

    def reset(self, kind: str) -> None:
        """Let this kind be said again."""
        self._said.pop(kind, None)
        self._latest_s.pop(kind, None)

    def reloaded(self) -> None:
        """Let what is new with the new config be said: what is over, or has another text now."""
        for kind in filter(self._is_over, list(self._said)):
            self.reset(kind)
        self._before_reload = set(self._said)

    def _is_over(self, kind: str) -> bool:
        return kind in self._latest_s and self._clock() - self._latest_s[kind] > EXPIRY_S

    def _say(
        self,
        level: int,
        kind: str,
        text: str,
        *,
        until_reset: bool = False,
        exc_info: BaseException | None = None,
    ) -> None:
        if not until_reset:
            self._latest_s[kind] = self._clock()
        if kind in self._said and (
            kind not in self._before_reload or self._said[kind] == (level, text)
        ):
            return
        self._said[kind] = level, text
        self._before_reload.discard(kind)
        # A text may hold what others named: a worker class, a path, a variable.
        printable = "".join(it if it.isprintable() else " " for it in text)
        self._lines.append(_Line(level, f"gunicorn_backlog: {printable}", exc_info))
        if not self._deferring:
            self.flush()

    def _log(self, line: _Line) -> None:
        """Log a line by the methods that gunicorn itself calls; a handler's error is dropped."""
        with suppress(Exception):
            log = getattr(self._logger, logging.getLevelName(line.level).lower())
            if line.error is not None:
                log(line.text, exc_info=line.error)
            else:
                log(line.text)
