"""Draw ``gunicorn-backlog top`` as it shows the demo's gunicorn in saturation.

    python examples/top_picture.py examples/top.svg

Starts the demo's gunicorn with two workers, and twelve clients for some seconds after some of
none: what is drawn was seen.
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

# rich's own has a font from elsewhere in it, which a picture in a page must not ask for.
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


def look_for(seconds: float, looker: SnapshotTaker, history: History) -> Snapshot:
    """Look for so many seconds, a second at a time."""
    for _ in range(round(seconds)):
        for _ in range(round(1 / SAMPLE_EVERY_S)):
            time.sleep(SAMPLE_EVERY_S)
            looker.sample()
        look = looker.close()
        history.add(look)
    return look


def draw_what_is_seen(console: Console) -> None:
    """Run the phases, and draw what is seen at last."""
    stop, port, history = Event(), load.free_port(), History()
    with StandInAgent() as agent, load.gunicorn(port, WORKERS, agent.url, stop) as server:
        looker = SnapshotTaker(discovery.find_server(server.pid))
        looker.begin()
        for number, seconds in PHASES:
            with load.clients(number, port, SERVICE_TIME_S, stop):
                look = look_for(seconds, looker, history)
                drawn = frame(look, history, View(WIDTH, HEIGHT, BLOCKS))
    console.print(drawn)


def main() -> None:
    """Draw it into the file that is named."""
    if len(sys.argv) != 2:
        sys.exit("usage: python examples/top_picture.py FILE.svg")
    console = Console(
        record=True, width=WIDTH, height=HEIGHT, force_terminal=True, file=io.StringIO()
    )
    draw_what_is_seen(console)
    svg = console.export_svg(title="gunicorn-backlog top", code_format=_SVG, unique_id="top")
    Path(sys.argv[1]).write_text(svg)


if __name__ == "__main__":
    main()
