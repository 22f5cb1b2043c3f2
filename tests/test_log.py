"""notices: each kind once."""

from __future__ import annotations

import logging

import pytest

from gunicorn_backlog.log import EXPIRY_S, OnceLogger


@pytest.fixture
def notices() -> OnceLogger:
    """Return notices that pytest can read."""
    return OnceLogger(logging.getLogger("lab"))


def test_each_kind_once(notices: OnceLogger, caplog: pytest.LogCaptureFixture) -> None:
    """The first text of a kind is logged, and the next after it was forgotten."""
    for text in ("one", "two"):
        notices.warn("kind", text)
    notices.warn("other", "three")
    notices.reset("kind")
    notices.warn("kind", "four")
    assert [r.getMessage() for r in caplog.records] == [
        "gunicorn_backlog: one",
        "gunicorn_backlog: three",
        "gunicorn_backlog: four",
    ]


def test_after_a_reload_only_what_is_another_text(
    notices: OnceLogger, caplog: pytest.LogCaptureFixture
) -> None:
    """A standing warning is not repeated with each HUP; what the new config changed is told."""
    for text in ("one", "one", "two", "three"):
        notices.warn("kind", text)
        notices.reloaded()
    notices.warn("kind", "three")
    notices.warn("kind", "three")
    assert [r.getMessage().split(": ")[1] for r in caplog.records] == ["one", "two", "three"]


class Clock:
    """A clock that stands still."""

    now_s = 0.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now_s


def test_a_warning_is_over_when_nobody_warns_of_it_any_more(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Nobody is told of it then, and it is said again if it is back with a later config."""
    clock = Clock()
    notices = OnceLogger(logging.getLogger("lab"), clock=clock)
    notices.warn("lasting", "one", until_reset=True)
    notices.exception("sampling", ValueError("two"))
    notices.warn("limit", "three")
    for clock.now_s in (EXPIRY_S, 2 * EXPIRY_S):
        assert [it[:5] for it in notices.warnings] == ["one", "sampl", "three"]
        notices.warn("limit", "three")
    clock.now_s = 3 * EXPIRY_S + 1
    assert [it[:5] for it in notices.warnings] == ["one", "sampl"]
    notices.warn("limit", "three")
    assert len(caplog.records) == 3  # a cause that comes and goes does not fill the log
    clock.now_s = 5 * EXPIRY_S
    notices.reloaded()
    for kind, text in (("limit", "three"), ("lasting", "one")):
        notices.warn(kind, text, until_reset=kind == "lasting")
    assert [r.getMessage().split(": ")[1] for r in caplog.records[3:]] == ["three"]
    assert len(notices.warnings) == 3


def test_of_several_of_a_kind_those_that_are_gone_are_forgotten(
    notices: OnceLogger, caplog: pytest.LogCaptureFixture
) -> None:
    """Each is said for itself, and again only if it was gone meanwhile."""
    for texts in (["one", "two"], ["two"], ["two", "one"], []):
        notices.reloaded()
        notices.warn_each("kind", texts)
        assert sorted(notices.warnings) == sorted(texts)
    assert [r.getMessage().split(": ")[1] for r in caplog.records] == ["one", "two", "one"]


def test_a_defect_once_for_each_place_and_type(
    notices: OnceLogger, caplog: pytest.LogCaptureFixture
) -> None:
    """The traceback is there, and the texts of the same error may differ."""
    for error in (ValueError("1"), ValueError("2"), KeyError("3")):
        notices.exception("sampling", error)
    notices.exception("pushing", ValueError("4"))
    assert [r.exc_info[1].args for r in caplog.records if r.exc_info and r.exc_info[1]] == [
        ("1",),
        ("3",),
        ("4",),
    ]
    assert "sampling failed, ValueError('1'); gunicorn is not affected" in caplog.text


def test_what_others_named_makes_no_line_of_its_own(
    notices: OnceLogger, caplog: pytest.LogCaptureFixture
) -> None:
    """A worker class, a path or a variable may have a newline in it."""
    notices.warn("kind", "the class x\n[CRITICAL] all is lost\x1b[0m")
    assert [r.getMessage() for r in caplog.records] == [
        "gunicorn_backlog: the class x [CRITICAL] all is lost [0m"
    ]


class Full(logging.Handler):
    """A user's own handler that raises, as where its disk is full."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Take nothing."""
        self.asked += 1
        raise OSError(28, "No space left on device")


def test_a_handler_that_raises() -> None:
    """It is asked once for each kind, as if it had taken it; nothing is raised to us."""
    logger, handler = logging.Logger("lab"), Full()
    logger.addHandler(handler)
    notices = OnceLogger(logger)
    for _ in range(3):
        notices.warn("kind", "one")
        notices.exception("sampling", ValueError("1"))
    assert handler.asked == 2
    assert notices.was_logged("kind")


def test_lines_are_kept_while_they_are_deferred(
    notices: OnceLogger, caplog: pytest.LogCaptureFixture
) -> None:
    """They are logged by flush(), in their order; a child leaves them to its parent."""
    notices.defer()
    notices.warn("kind", "one")
    notices.exception("sampling", ValueError("two"))
    assert caplog.records == []
    notices.flush()
    assert [r.getMessage()[:24] for r in caplog.records] == [
        "gunicorn_backlog: one",
        "gunicorn_backlog: sampli",
    ]
    notices.warn("other", "three")
    notices.after_fork_in_child()
    notices.warn("last", "four")
    assert [r.getMessage() for r in caplog.records[2:]] == ["gunicorn_backlog: four"]
