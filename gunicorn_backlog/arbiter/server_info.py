"""An arbiter as it is told of in the shared memory, put together from what watches it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gunicorn import __version__ as gunicorn_version

from gunicorn_backlog import __version__
from gunicorn_backlog.config.agent_address import DISABLED
from gunicorn_backlog.scoreboard.server_info import ServerInfo
from gunicorn_backlog.workers import registry

if TYPE_CHECKING:
    from gunicorn_backlog._gunicorn import Arbiter
    from gunicorn_backlog.config.settings import Settings
    from gunicorn_backlog.sampling.sampler import Sampler


def about(
    arbiter: Arbiter,
    settings: Settings,
    sampler: Sampler,
    *,
    agent_error: str,
    warnings: tuple[str, ...],
) -> ServerInfo:
    """Return what there is to tell of an arbiter now, by the settings in force."""
    return ServerInfo(
        app=arbiter.proc_name,
        version=__version__,
        gunicorn=gunicorn_version,
        worker_class=arbiter.cfg.worker_class_str,
        kind=int(registry.kind_forked(arbiter)),
        enabled=settings.enabled,
        interval_s=settings.interval_s,
        backlog=arbiter.cfg.backlog,
        boot_limit_s=sampler.boot_limit_s(),
        watched_since_ns=sampler.since_ns,
        agent=str(settings.address),
        agent_from=settings.address_from,
        agent_error=agent_error,
        listeners=sampler.places(),
        warnings=warnings,
    )


SWITCHED_OFF = f"{__version__} is switched off (enabled is False): nothing is pushed"
LISTENERS_MAX = 8  # in one line


def startup_line(told: ServerInfo, workers: int) -> str:
    """Return one line: version, workers, listeners, interval, and the Agent's address and source.

    :param workers: how many gunicorn is configured to have.
    """
    pushes = f"pushes every {told.interval_s:g} s to {told.agent} (from {told.agent_from})"
    if told.agent_error == DISABLED:
        pushes = f"pushes nothing: {DISABLED}"
    names = [place.listener for place in told.listeners]
    listeners = ", ".join(names[:LISTENERS_MAX])
    if len(names) > LISTENERS_MAX:
        listeners += f" and {len(names) - LISTENERS_MAX} more"
    plural = "" if workers == 1 else "s"
    return (
        f"{told.version}: {workers} {told.worker_class} worker{plural}, "
        f"listening at {listeners or 'nothing yet'}; {pushes}"
    )
