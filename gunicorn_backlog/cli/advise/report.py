"""Advice as JSON; ``cli/README.md`` documents the fields."""

from __future__ import annotations

from typing import Any

from gunicorn_backlog.cli.advise.advice import Advice
from gunicorn_backlog.cli.advise.measured import LoopUse, Measured
from gunicorn_backlog.cli.advise.text import assumptions

VERSION = 1


def report(measured: Measured, advice: Advice) -> dict[str, Any]:
    """Return the object that ``advise --json`` prints."""
    waits = measured.waits
    return {
        "version": VERSION,
        "seconds": round(measured.seconds, 1),
        "requests": measured.requests,
        "unit": advice.unit,
        "load": _rounded(measured.load, 3),
        "service_ms": _rounded(measured.service_ms if advice.work else None, 2),
        "variability": _rounded(measured.variability if advice.work else None),
        "have": advice.have,
        "needed": advice.needed,
        "needed_at": {f"{factor:g}": number for factor, number in advice.needed_at.items()},
        "lower_bound": advice.lower_bound,
        "bound": advice.bound,
        "short": advice.short,
        "shares": measured.shares and measured.shares._asdict(),
        "cpus": measured.cpus,
        "cpus_needed": {f"{factor:g}": number for factor, number in advice.cpus_needed.items()},
        "waits": waits
        and {
            **waits.summary._asdict(),
            "longer": round(waits.longer, 4),
            "longer_expected": _rounded(advice.expected_longer),
        },
        "loops": measured.loops and _loops(measured, measured.loops),
        "assumptions": list(assumptions(measured, advice)),
    }


def _rounded(value: float | None, digits: int = 4) -> float | None:
    return None if value is None else round(value, digits)


def _loops(measured: Measured, loops: LoopUse) -> dict[str, Any]:
    return {
        "utilization": None if measured.busy is None else round(100 * measured.busy, 2),
        "delays": loops.delays and loops.delays._asdict(),
        "pools": {name: pool._asdict() for name, pool in loops.pools.items()},
    }
