"""OnceLogger: one line per key."""

from __future__ import annotations

import logging

import pytest

from gunicorn_backlog.log import EXPIRY_S, OnceLogger


@pytest.fixture
def logger() -> OnceLogger:
    """Return a logger whose lines ``caplog`` records."""
    return OnceLogger(logging.getLogger("lab"))


def test_one_line_per_key(logger: OnceLogger, caplog: pytest.LogCaptureFixture) -> None:
    """The first text of a key is logged, and the next text only after a reset."""
    for text in ("one", "two"):
        logger.warn("key", text)
    logger.warn("other", "three")
    logger.reset("key")
    logger.warn("key", "four")
    assert [r.getMessage() for r in caplog.records] == [
        "gunicorn_backlog: one",
        "gunicorn_backlog: three",
        "gunicorn_backlog: four",
    ]


def test_after_a_reload_only_another_text_is_logged(
    logger: OnceLogger, caplog: pytest.LogCaptureFixture
) -> None:
    """A HUP repeats no warning in force; a text that the new config changed is logged once."""
    for text in ("one", "one", "two", "three"):
        logger.warn("key", text)
        logger.reloaded()
    logger.warn("key", "three")
    logger.warn("key", "three")
    assert [r.getMessage().split(": ")[1] for r in caplog.records] == ["one", "two", "three"]


class Clock:
    """A clock that a test sets."""

    now_s = 0.0

    def __call__(self) -> float:
        """Return the time in seconds."""
        return self.now_s


def test_a_warning_expires_after_its_latest_occurrence(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """An expired warning is not in force. Only a reload lets its next occurrence be logged."""
    clock = Clock()
    logger = OnceLogger(logging.getLogger("lab"), clock=clock)
    logger.warn("lasting", "one", until_reset=True)
    logger.exception("sampling", ValueError("two"))
    logger.warn("limit", "three")
    for clock.now_s in (EXPIRY_S, 2 * EXPIRY_S):
        assert [text[:5] for text in logger.warnings] == ["one", "sampl", "three"]
        logger.warn("limit", "three")
    clock.now_s = 3 * EXPIRY_S + 1
    assert [text[:5] for text in logger.warnings] == ["one", "sampl"]
    logger.warn("limit", "three")
    assert len(caplog.records) == 3  # a cause that comes and goes does not fill the log
    clock.now_s = 5 * EXPIRY_S
    logger.reloaded()
    for key, text in (("limit", "three"), ("lasting", "one")):
        logger.warn(key, text, until_reset=key == "lasting")
    assert [r.getMessage().split(": ")[1] for r in caplog.records[3:]] == ["three"]
    assert len(logger.warnings) == 3


def test_of_several_texts_per_key_the_absent_ones_are_cleared(
    logger: OnceLogger, caplog: pytest.LogCaptureFixture
) -> None:
    """Each text is logged once, and again only after a call without that text."""
    for texts in (["one", "two"], ["two"], ["two", "one"], []):
        logger.reloaded()
        logger.warn_each("key", texts)
        assert sorted(logger.warnings) == sorted(texts)
    assert [r.getMessage().split(": ")[1] for r in caplog.records] == ["one", "two", "one"]


def test_a_defect_once_per_action_and_type(
    logger: OnceLogger, caplog: pytest.LogCaptureFixture
) -> None:
    """The line has a traceback; another text of the same type of error adds no line."""
    for error in (ValueError("1"), ValueError("2"), KeyError("3")):
        logger.exception("sampling", error)
    logger.exception("pushing", ValueError("4"))
    assert [r.exc_info[1].args for r in caplog.records if r.exc_info and r.exc_info[1]] == [
        ("1",),
        ("3",),
        ("4",),
    ]
    assert "sampling failed, ValueError('1'); gunicorn is not affected" in caplog.text


def test_a_quoted_newline_adds_no_line(
    logger: OnceLogger, caplog: pytest.LogCaptureFixture
) -> None:
    """A worker class, a path or a variable may contain a newline or an escape sequence."""
    logger.warn("key", "the class x\n[CRITICAL] all is lost\x1b[0m")
    assert [r.getMessage() for r in caplog.records] == [
        "gunicorn_backlog: the class x [CRITICAL] all is lost [0m"
    ]


class Full(logging.Handler):
    """A handler of the user that raises, as on a full disk."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Count the call, and raise."""
        self.calls += 1
        raise OSError(28, "No space left on device")


def test_a_handler_that_raises() -> None:
    """The handler is called once per key, and its error is dropped."""
    lab, handler = logging.Logger("lab"), Full()
    lab.addHandler(handler)
    logger = OnceLogger(lab)
    for _ in range(3):
        logger.warn("key", "one")
        logger.exception("sampling", ValueError("1"))
    assert handler.calls == 2
    assert logger.was_logged("key")


def test_deferred_lines_wait_for_flush(
    logger: OnceLogger, caplog: pytest.LogCaptureFixture
) -> None:
    """flush() logs them in their order; a forked child drops its parent's lines."""
    logger.defer()
    logger.warn("key", "one")
    logger.exception("sampling", ValueError("two"))
    assert caplog.records == []
    logger.flush()
    assert [r.getMessage()[:24] for r in caplog.records] == [
        "gunicorn_backlog: one",
        "gunicorn_backlog: sampli",
    ]
    logger.warn("other", "three")
    logger.after_fork_in_child()
    logger.warn("last", "four")
    assert [r.getMessage() for r in caplog.records[2:]] == ["gunicorn_backlog: four"]
