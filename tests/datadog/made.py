"""What Datadog would have got of more hosts, restarts and upgrades: made, not recorded.

It is made of recordings of one real server each, put to other times, hosts and apps; and of lines.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cache

from agent import Line

from tests.datadog.agent_flush import Received, flush
from tests.datadog.phases import FOLDER
from tests.datadog.recording import Push, Recording

BIND = "127.0.0.1:8000"  # of what is made; each recording has a port of its own
TAGS = frozenset({"env:lab", "service:demo", "app:lab", f"bind:{BIND}"})


@cache
def recorded(phase: str) -> Recording:
    """Return what is kept of a phase."""
    return Recording.read(FOLDER / f"{phase}.tsv")


def received(recording: Recording) -> Received:
    """Return what Datadog gets of a recording."""
    return flush(recording.pushes, recording.lasts_s)


def with_tags(got: Received, **values: str) -> Received:
    """Return the same with other values of these tags."""

    def changed(tags: frozenset[str]) -> frozenset[str]:
        others = {tag for tag in tags if tag.partition(":")[0] not in values}
        return frozenset(others | {f"{key}:{value}" for key, value in values.items()})

    series = tuple(replace(it, tags=changed(it.tags)) for it in got.series)
    statuses = tuple(replace(it, tags=changed(it.tags)) for it in got.statuses)
    return Received(series, statuses, got.until_s)


def together(*got: Received) -> Received:
    """Return what several Agents sent at the same time."""
    series = tuple(it for one in got for it in one.series)
    statuses = sorted((it for one in got for it in one.statuses), key=lambda it: it.at_s)
    return Received(series, tuple(statuses), max(one.until_s for one in got))


def sequence(*parts: tuple[float, Recording, float]) -> Recording:
    """Return parts of recordings, each from its beginning for so long, put to another time.

    :param parts: when it begins, what, and how long.
    """
    pushes = tuple(
        (begins_s + at_s, lines)
        for begins_s, recording, lasts_s in parts
        for at_s, lines in recording.pushes
        if at_s < lasts_s
    )
    return Recording(pushes, max(begins_s + lasts_s for begins_s, _, lasts_s in parts))


def pushed(
    seconds: Iterable[Mapping[str, float]], kinds: Mapping[str, str], *tags: str
) -> Received:
    """Return what comes of one push a second.

    :param seconds: of each second the values by metric.
    :param kinds: the metrics' types as DogStatsD has them.
    """
    pushes: list[Push] = [
        (
            second + 0.5,
            tuple(
                Line(name, kinds[name], (float(value),), TAGS | {*tags})
                for name, value in values.items()
            ),
        )
        for second, values in enumerate(seconds)
    ]
    return flush(pushes, float(len(pushes)))
