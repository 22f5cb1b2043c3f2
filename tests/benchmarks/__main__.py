"""``python -m tests.benchmarks``: measure, and write a report.

    python -m tests.benchmarks [--quick] [--out FOLDER] [--readme] [NAME ...]

Each NAME is a module of this package that has ``tables``; without one all are run.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from tests.benchmarks import machine, plot
from tests.benchmarks.table import Table

README = Path(__file__).with_name("README.md")
EXAMPLES = Path(__file__).parents[2] / "examples"  # where the stand-in Agent is, as for pytest
BEGIN, END = "<!-- figures: written by --readme -->", "<!-- end of figures -->"


def main() -> None:
    """Run what the command line names."""
    options = _parser().parse_args()
    sys.path.append(str(EXAMPLES))
    where = machine.described()
    tables, failed = _measured(options.names or _names(), quick=options.quick)
    if not tables:
        sys.exit("nothing was measured")
    words = f"{'Quick run, to try it. ' if options.quick else ''}{machine.in_words(where)}"
    report = _report(words, tables)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "report.md").write_text(f"# What it costs\n\n{report}")
    as_json = {"machine": where, "quick": options.quick, "tables": [it.json() for it in tables]}
    (options.out / "report.json").write_text(json.dumps(as_json, indent=2) + "\n")
    plot.save(tables, options.out / "report.svg")
    if options.readme:
        README.write_text(_filled(README.read_text(), report))
    print(f"{report}\nWritten to {options.out}.")
    sys.exit(f"failed: {', '.join(failed)}" if failed else 0)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="seconds, to see that it runs")
    parser.add_argument("--out", type=Path, default=Path("bench"), help="folder of the report")
    parser.add_argument("--readme", action="store_true", help="put the tables into README.md")
    parser.add_argument("names", nargs="*", metavar="NAME", help="what to measure; all")
    return parser


def _names() -> list[str]:
    """Return the names of all benchmarks; what one of them imports may not be installed."""
    modules = sorted(Path(__file__).parent.glob("*.py"))
    return [it.stem for it in modules if "\ndef tables(" in it.read_text()]


def _module(name: str) -> object:
    return import_module(f"tests.benchmarks.{name}")


def _measured(names: Sequence[str], *, quick: bool) -> tuple[list[Table], list[str]]:
    """Run the benchmarks; one that fails is named, and the others run all the same."""
    tables: list[Table] = []
    failed: list[str] = []
    for name in names:
        began_s = time.monotonic()
        try:
            tables += _module(name).tables(quick)  # type: ignore[attr-defined]  # each has it
        except Exception as error:
            failed.append(name)
            print(f"{name}: {type(error).__name__}: {error}", file=sys.stderr)
        print(f"{name}: {time.monotonic() - began_s:.0f} s", file=sys.stderr, flush=True)
    return tables, failed


def _report(words: str, tables: Sequence[Table]) -> str:
    return "\n".join([f"{words}\n", *(table.markdown() for table in tables)])


def _filled(readme: str, report: str) -> str:
    """Return the README with the report between its markers."""
    before, _, rest = readme.partition(BEGIN)
    _, _, after = rest.partition(END)
    if not after:
        raise ValueError(f"{README.name} has lost its markers")
    return f"{before}{BEGIN}\n\n{report}\n{END}{after}"


if __name__ == "__main__":
    main()
