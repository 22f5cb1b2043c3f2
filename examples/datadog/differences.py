"""The differences between an object of the account and our file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from account import Json

LONGEST = 60  # characters of a printed value
OUR_THRESHOLDS = ("critical", "warning", "ok")
# Two names of one type: the API accepts either name, and may return the other.
SAME_TYPES = ({"query alert", "metric alert"},)


def differences(want: Any, have: Any, path: str = "") -> Iterator[str]:
    """Yield one line for each difference of ``have`` from ``want``, without additions in ``have``.

    :param path: the place of both in their objects, for example ``options.thresholds``.
    """
    if isinstance(want, dict) and isinstance(have, dict):
        want = want | dict.fromkeys(dropped(want, have) if path == "options.thresholds" else ())
        for name, inner in want.items():
            yield from differences(inner, have.get(name), f"{path}.{name}" if path else name)
    elif path == "tags" and isinstance(have, list):
        yield from (f"tags: {_short(tag, None)} is added" for tag in want if tag not in have)
    elif isinstance(want, list) and isinstance(have, list) and len(want) == len(have):
        for number, (inner, its) in enumerate(zip(want, have, strict=True)):
            yield from differences(inner, its, f"{path}[{number}]")
    elif want != have and not any({want, have} <= same for same in SAME_TYPES if path == "type"):
        yield f"{path}: {_short(have, want)} -> {_short(want, have)}"


def dropped(thresholds: Json, theirs: Json) -> list[str]:
    """Return the names of thresholds that our file has no more, with their recovery thresholds.

    A ``critical_recovery`` that was added to one of our thresholds is not among them.
    """
    gone = [name for name in OUR_THRESHOLDS if name not in thresholds]
    return [
        name
        for name, value in theirs.items()
        if value is not None and name.removesuffix("_recovery") in gone and name not in thresholds
    ]


def _short(value: Any, other: Any) -> str:
    """Return a value as JSON; of a long value the part around the first difference."""
    text, others = (json.dumps(each, ensure_ascii=False) for each in (value, other))
    if len(text) <= LONGEST:
        return text
    pairs = zip(text, others, strict=False)
    differ = next((at for at, (one, another) in enumerate(pairs) if one != another), len(others))
    begin = max(0, differ - LONGEST // 2)
    end = begin + LONGEST
    return f"{'...' if begin else ''}{text[begin:end]}{'...' if end < len(text) else ''}"
