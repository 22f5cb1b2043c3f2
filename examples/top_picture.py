"""Draw ``gunicorn-backlog top`` of the demo's gunicorn in saturation.

    python examples/top_picture.py examples/top.svg

Starts the demo's gunicorn with two workers, then no client, one and twelve clients for some seconds
each. The picture is the last frame of that run.
"""

from __future__ import annotations

import io
import sys
import time
from pathlib import Path
from threading import Event

import load
from agent import StandInAgent
from rich.console import Console

from gunicorn_backlog.cli.inspect import discovery
from gunicorn_backlog.cli.inspect.snapshot import SAMPLE_EVERY_S, Snapshot, SnapshotTaker
from gunicorn_backlog.cli.top.glyphs import BLOCKS
from gunicorn_backlog.cli.top.history import History
from gunicorn_backlog.cli.top.screen import View, frame

WORKERS, SERVICE_TIME_S = 2, 0.4
PHASES = ((0, 14), (1, 12), (12, 16))  # clients, and for how many seconds
WIDTH, HEIGHT = 100, 16

# rich's own template loads a font from another site, which a picture in a page must not do.
_SVG = """<svg class="rich-terminal" viewBox="0 0 {width} {height}" xml:space="preserve"
 xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{ font-family: Menlo, "DejaVu Sans Mono", Consolas, monospace;
  font-size: {char_height}px; line-height: {line_height}px; font-variant-east-asian: full-width; }}
.{unique_id}-title {{ font-size: 18px; font-weight: bold; font-family: arial; }}
{styles}
</style>
<defs><clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}"/></clipPath>{lines}</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g></g></svg>
"""


def sample_for(seconds: float, taker: SnapshotTaker, history: History) -> Snapshot:
    """Take a snapshot each second, and return the last."""
    for _ in range(round(seconds)):
        for _ in range(round(1 / SAMPLE_EVERY_S)):
            time.sleep(SAMPLE_EVERY_S)
            taker.sample()
        snapshot = taker.close()
        history.add(snapshot)
    return snapshot


def draw_last_frame(console: Console) -> None:
    """Run the phases, and draw the last snapshot."""
    stop, port, history = Event(), load.free_port(), History()
    with StandInAgent() as agent, load.gunicorn(port, WORKERS, agent.url, stop) as server:
        taker = SnapshotTaker(discovery.find_server(server.pid))
        taker.begin()
        for number, seconds in PHASES:
            with load.clients(number, port, f"/sleep/{SERVICE_TIME_S}", stop):
                snapshot = sample_for(seconds, taker, history)
                drawn = frame(snapshot, history, View(WIDTH, HEIGHT, BLOCKS))
    console.print(drawn)


def main() -> None:
    """Write the picture to the file of the first argument."""
    if len(sys.argv) != 2:
        sys.exit("usage: python examples/top_picture.py FILE.svg")
    console = Console(
        record=True, width=WIDTH, height=HEIGHT, force_terminal=True, file=io.StringIO()
    )
    draw_last_frame(console)
    svg = console.export_svg(title="gunicorn-backlog top", code_format=_SVG, unique_id="top")
    Path(sys.argv[1]).write_text(svg)


if __name__ == "__main__":
    main()
