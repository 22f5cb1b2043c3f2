"""A query of Datadog as values, and the text of each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Comparator = Literal[">", ">=", "<", "<="]
Operator = Literal["+", "-", "*", "/"]


class QueryError(ValueError):
    """A query outside of our subset, or of data that is not sent; the text is one line."""


@dataclass(frozen=True)
class Call:
    """A function behind a selection: ``as_count()``, ``as_rate()`` or ``rollup(max, 60)``."""

    name: str
    arguments: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f".{self.name}({', '.join(self.arguments)})"


@dataclass(frozen=True)
class Selection:
    """Series of one metric: ``avg:gunicorn.workers{env:prod} by {app}``.

    ``scope``: tags (``env:prod``), excluded tags (``!app:*.2``) and template variables (``$env``);
    empty: all series.
    """

    aggregator: str
    metric: str
    scope: tuple[str, ...] = ()
    by: tuple[str, ...] = ()
    calls: tuple[Call, ...] = ()

    def __str__(self) -> str:
        by = f" by {{{','.join(self.by)}}}" if self.by else ""
        calls = "".join(map(str, self.calls))
        return f"{self.aggregator}:{self.metric}{{{','.join(self.scope) or '*'}}}{by}{calls}"


@dataclass(frozen=True)
class Number:
    """A constant."""

    value: float

    def __str__(self) -> str:
        return f"{self.value:g}"


@dataclass(frozen=True)
class Operation:
    """Two expressions and an operator, applied to the series of equal groups."""

    operator: Operator
    left: Expression
    right: Expression

    def __str__(self) -> str:
        left, right = str(self.left), str(self.right)
        if isinstance(self.left, Operation) and _rank(self.left) < _rank(self):
            left = f"({left})"
        if isinstance(self.right, Operation) and _rank(self.right) <= _rank(self):
            right = f"({right})"
        return f"{left} {self.operator} {right}"


@dataclass(frozen=True)
class Filled:
    """An expression with zeros in place of missing points: ``default_zero(max:a{*})``."""

    inner: Expression

    def __str__(self) -> str:
        return f"default_zero({self.inner})"


Expression = Selection | Number | Operation | Filled


def _rank(operation: Operation) -> int:
    return 1 if operation.operator in "*/" else 0


@dataclass(frozen=True)
class Window:
    """A monitor's aggregation of each group's points of the last seconds: ``avg(last_5m)``."""

    aggregator: str
    lasts: str

    @property
    def seconds(self) -> int:
        """The window's length."""
        return int(self.lasts[:-1]) * {"m": 60, "h": 3600}[self.lasts[-1]]

    def __str__(self) -> str:
        return f"{self.aggregator}(last_{self.lasts}):"


@dataclass(frozen=True)
class Comparison:
    """A monitor's condition."""

    comparator: Comparator
    threshold: float

    def __str__(self) -> str:
        return f" {self.comparator} {self.threshold:g}"


@dataclass(frozen=True)
class MetricQuery:
    """A monitor's query, with a window and a comparison, or a plain one without both."""

    expression: Expression
    window: Window | None = None
    comparison: Comparison | None = None

    def __str__(self) -> str:
        return f"{self.window or ''}{self.expression}{self.comparison or ''}"

    def selections(self) -> Iterator[Selection]:
        """Return all selections, from left to right."""
        return selections(self.expression)


@dataclass(frozen=True)
class CheckQuery:
    """A service check's last results by group: ``"a".over("*").by("b").last(2)``."""

    name: str
    over: tuple[str, ...]
    by: tuple[str, ...]
    last: int

    def __str__(self) -> str:
        over, by = (",".join(f'"{tag}"' for tag in tags) for tags in (self.over or ("*",), self.by))
        return f'"{self.name}".over({over}).by({by}).last({self.last}).count_by_status()'


Query = MetricQuery | CheckQuery


def selections(expression: Expression) -> Iterator[Selection]:
    """Return all selections of an expression, from left to right."""
    if isinstance(expression, Selection):
        yield expression
    elif isinstance(expression, Filled):
        yield from selections(expression.inner)
    elif isinstance(expression, Operation):
        yield from selections(expression.left)
        yield from selections(expression.right)


def fills_gaps(expression: Expression) -> bool:
    """Return whether an expression contains a ``default_zero``."""
    if isinstance(expression, Operation):
        return fills_gaps(expression.left) or fills_gaps(expression.right)
    return isinstance(expression, Filled)
