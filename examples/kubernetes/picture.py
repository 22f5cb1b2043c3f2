"""A picture of the days: minutes over the objective against pod-hours, and pods over time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from simulate import Result

OURS = {"utilization": "#55a868", "utilization and backlog": "#7a6ff0"}
OTHERS = ("#c44e52", "#dd8452")


def save(results: Sequence[Result], path: Path) -> None:
    """Draw two panels for each app, and save them in the format of the path's suffix."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    apps = list(dict.fromkeys(result.case.app for result in results))
    figure, axes = pyplot.subplots(
        len(apps), 2, figsize=(12, 4.2 * len(apps)), squeeze=False, layout="constrained"
    )
    for app, (costs, pods) in zip(apps, axes, strict=True):
        of_app = [result for result in results if result.case.app is app]
        _draw_costs(costs, of_app)
        _draw_pods(pods, of_app)
        costs.set_title(f"The app {app.name}", loc="left")
    figure.savefig(path)
    pyplot.close(figure)


def _draw_costs(axis: Any, results: Sequence[Result]) -> None:
    """Draw minutes over the objective against pod-hours: one line per signal."""
    for name, colour, line in _lines(results):
        hours, minutes = (
            [result.pod_hours for result in line],
            [result.minutes_over for result in line],
        )
        axis.plot(hours, minutes, "o-", color=colour, label=name)
        for result in line:
            axis.annotate(
                f" {result.case.target} %",
                (result.pod_hours, result.minutes_over),
                color=colour,
                fontsize=8,
            )
    axis.set_xlabel("pod-hours")
    axis.set_ylabel("minutes over the objective")
    axis.set_yscale("log")
    axis.legend(fontsize=8)


def _draw_pods(axis: Any, results: Sequence[Result]) -> None:
    """Draw each signal's pods at the same target, and the minutes over the objective as marks."""
    at_50 = _lines([result for result in results if result.case.target == 50])
    for row, (name, colour, line) in enumerate(at_50):
        hours = [minute / 60 for minute in range(len(line[0].replicas))]
        axis.plot(hours, line[0].replicas, color=colour, label=f"{name}, 50 %", linewidth=1)
        over = [hour for hour, bad in zip(hours, line[0].over, strict=True) if bad]
        axis.plot(over, [-1.5 - row] * len(over), "|", color=colour, markersize=5)
    axis.set_xlabel("hour of the day; marks: minutes over the objective")
    axis.set_ylabel("pods")
    axis.legend(fontsize=8)


def _lines(results: Sequence[Result]) -> list[tuple[str, str, list[Result]]]:
    """Return each signal's name, colour and results."""
    found: dict[str, list[Result]] = defaultdict(list)
    for result in results:
        found[result.case.name].append(result)
    others = iter(OTHERS)
    return [(name, OURS.get(name) or next(others), line) for name, line in found.items()]
