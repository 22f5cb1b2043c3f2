"""Synthetic data of more hosts, restarts and upgrades than were recorded.

The data consist of recordings of one real server each, with other times, hosts and apps, and of
generated lines.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cache

from agent import Line

from tests.datadog.agent_flush import Received, flush
from tests.datadog.phases import FOLDER
from tests.datadog.recording import Push, Recording

BIND = "127.0.0.1:8000"  # of synthetic data; each recording has its own port
TAGS = frozenset({"env:lab", "service:demo", "app:lab", f"bind:{BIND}"})


@cache
def recorded(phase: str) -> Recording:
    """Return the recording of a phase."""
    return Recording.read(FOLDER / f"{phase}.tsv")


def received(recording: Recording) -> Received:
    """Return the data that Datadog receives from a recording."""
    return flush(recording.pushes, recording.lasts_s)


def with_tags(got: Received, **values: str) -> Received:
    """Return the data with other values of these tags."""

    def changed(tags: frozenset[str]) -> frozenset[str]:
        others = {tag for tag in tags if tag.partition(":")[0] not in values}
        return frozenset(others | {f"{key}:{value}" for key, value in values.items()})

    series = tuple(replace(one, tags=changed(one.tags)) for one in got.series)
    statuses = tuple(replace(status, tags=changed(status.tags)) for status in got.statuses)
    return Received(series, statuses, got.until_s)


def together(*got: Received) -> Received:
    """Return the data of several Agents at the same time."""
    series = tuple(series for one in got for series in one.series)
    statuses = sorted(
        (status for one in got for status in one.statuses), key=lambda status: status.at_s
    )
    return Received(series, tuple(statuses), max(one.until_s for one in got))


def sequence(*parts: tuple[float, Recording, float]) -> Recording:
    """Return parts of recordings, each from its begin, moved to other times.

    :param parts: begin, recording and duration of each part.
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
    """Return the data of one push per second.

    :param seconds: the values by metric of each second.
    :param kinds: the metrics' DogStatsD types.
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
