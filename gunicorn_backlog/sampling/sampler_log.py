"""Log texts of the sampler."""

from __future__ import annotations

from collections.abc import Collection

from gunicorn_backlog.log import OnceLogger
from gunicorn_backlog.sampling.worker_counts import WorkerCounter
from gunicorn_backlog.scoreboard.kind import Kind

_NOT_SENT = "their states and requests in flight are not sent"


def warn_no_limit(logger: OnceLogger, listener: str) -> None:
    """Warn of a listener whose queue the kernel does not fill in."""
    logger.warn(
        f"limit 0 of {listener}",
        f"the backlog of {listener} can't be read (this kernel reports a limit of 0): it is not "
        "sent, all other metrics are",
    )


def warn_unread(logger: OnceLogger) -> None:
    """Warn of slots that can't be read in several samples in a row."""
    logger.warn(
        "unread",
        "a worker's slot was overwritten, or changes during each read: workers are counted, "
        f"{_NOT_SENT}",
    )


def warn_no_slot(logger: OnceLogger, counter: WorkerCounter, boot_limit_s: float) -> None:
    """Warn of workers without a slot that serve, or that should have one by now."""
    if counter.overdue:
        late = f"have not reported after {boot_limit_s} s"
        serving = "serve, and the hook post_worker_init has not instrumented them"
        logger.warn(
            "no slot",
            # Without their number, which grows from sample to sample, and with each reload.
            f"workers {serving if counter.serving else late}: {_NOT_SENT}. "
            "Unless these workers logged a reason, end the config with "
            "gunicorn_backlog.hooks.install(globals())",
        )


def warn_unknown_kinds(logger: OnceLogger, kinds: Collection[int], worker_class: str) -> None:
    """Warn of workers that have a slot and are not instrumented."""
    if Kind.FAILED in kinds:
        logger.warn(
            "not instrumented",
            "a worker could not be instrumented, its own log line has the reason: workers are "
            f"counted, {_NOT_SENT}",
        )
    if Kind.UNKNOWN in kinds:
        logger.warn(
            "unknown class",
            f"the worker class {worker_class} is not known: its workers are counted, {_NOT_SENT}",
        )


def warn_unmeasured_loop(logger: OnceLogger) -> None:
    """Warn of an event loop whose running time can't be measured."""
    logger.warn(
        "loop",
        "a worker's event loop can't be measured (gevent on libuv, a uvloop without libuv's "
        "metrics, or a selector that the app has replaced): utilization and saturation are not "
        "sent, the loop's delay is",
    )
