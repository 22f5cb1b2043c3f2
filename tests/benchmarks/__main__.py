"""``python -m tests.benchmarks``: run benchmarks, and write a report.

    python -m tests.benchmarks [--quick] [--out FOLDER] [--readme] [NAME ...]

Each NAME is a module of this package with a function ``tables``; without a NAME all run.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from tests.benchmarks import machine, plot, readme
from tests.benchmarks.table import Table

README = Path(__file__).with_name("README.md")
EXAMPLES = Path(__file__).parents[2] / "examples"  # has the stand-in Agent


def main() -> None:
    """Run the benchmarks of the command line, and write their report."""
    options = _parser().parse_args()
    sys.path.append(str(EXAMPLES))
    environment = machine.description()
    tables, failed = _run_benchmarks(options.names or _benchmark_names(), quick=options.quick)
    if not tables:
        sys.exit("nothing was measured")
    conditions = f"{'Quick run. ' if options.quick else ''}{machine.as_markdown(environment)}"
    report = _report(conditions, tables)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "report.md").write_text(f"# Benchmarks of gunicorn_backlog\n\n{report}")
    as_json = {
        "machine": environment,
        "quick": options.quick,
        "tables": [table.json() for table in tables],
    }
    (options.out / "report.json").write_text(json.dumps(as_json, indent=2) + "\n")
    plot.save(tables, options.out / "report.svg")
    if options.readme:
        README.write_text(readme.replaced(README.read_text(), tables, conditions))
    print(f"{report}\nWritten to {options.out}.")
    sys.exit(f"failed: {', '.join(failed)}" if failed else 0)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="trial run of seconds")
    parser.add_argument("--out", type=Path, default=Path("bench"), help="folder of the report")
    parser.add_argument("--readme", action="store_true", help="replace these tables in README.md")
    parser.add_argument("names", nargs="*", metavar="NAME", help="benchmarks to run (default: all)")
    return parser


def _benchmark_names() -> list[str]:
    """Return the names of all benchmarks, without an import: their packages may be missing."""
    modules = sorted(Path(__file__).parent.glob("*.py"))
    return [path.stem for path in modules if "\ndef tables(" in path.read_text()]


def _module(name: str) -> object:
    return import_module(f"tests.benchmarks.{name}")


def _run_benchmarks(names: Sequence[str], *, quick: bool) -> tuple[list[Table], list[str]]:
    """Return the tables of the benchmarks, and the names of those that failed."""
    tables: list[Table] = []
    failed: list[str] = []
    for name in names:
        began_s = time.monotonic()
        try:
            tables += _module(name).tables(quick)  # type: ignore[attr-defined]  # each benchmark has tables
        except Exception as error:
            failed.append(name)
            print(f"{name}: {type(error).__name__}: {error}", file=sys.stderr)
        print(f"{name}: {time.monotonic() - began_s:.0f} s", file=sys.stderr, flush=True)
    return tables, failed


def _report(conditions: str, tables: Sequence[Table]) -> str:
    return "\n".join([f"{conditions}\n", *(table.markdown() for table in tables)])


if __name__ == "__main__":
    main()
