"""The grammar of the queries that we use; other queries of Datadog are refused.

    query      = [ window ] expression [ comparator number ] | check
    window     = ( "avg" | "min" | "max" | "sum" ) "(last_" count ( "m" | "h" ) "):"
    expression = term { ( "+" | "-" ) term }
    term       = factor { ( "*" | "/" ) factor }
    factor     = number | [ "default_zero" ] "(" expression ")" | selection
    selection  = aggregator ":" metric "{" scope "}" [ "by" "{" key { "," key } "}" ] { call }
    scope      = "*" | item { "," item }
    item       = tag | variable | "!" tag, which may have a * in it
    call       = ".as_count()" | ".as_rate()" | ".rollup(" aggregator "," seconds ")"
    check      = string ".over(" strings ").by(" strings ").last(" count ").count_by_status()"

https://docs.datadoghq.com/api/latest/monitors/#create-a-monitor has the original in prose.
"""

from __future__ import annotations

import re
from typing import cast

from tests.datadog.query import (
    Call,
    CheckQuery,
    Comparator,
    Comparison,
    Expression,
    Filled,
    MetricQuery,
    Number,
    Operation,
    Operator,
    Query,
    QueryError,
    Selection,
    Window,
)

AGGREGATOR = "avg|min|max|sum"
KEY = r"[a-z][a-z0-9_]*"
VALUE = r"[a-zA-Z0-9_./:%-]+"
TAG = re.compile(rf"{KEY}:{VALUE}")
SCOPE_ITEM = re.compile(rf"\$({KEY})|({KEY}):({VALUE})|!({KEY}):[a-zA-Z0-9_./:%*-]+")
WINDOW = re.compile(rf"({AGGREGATOR})\(last_([1-9]\d*[mh])\):")
SELECTION = re.compile(
    rf"({AGGREGATOR}):([a-z][a-z0-9_.]*)\{{([^{{}}]*)\}}(?:\s*by\s*\{{([^{{}}]*)\}})?"
)
CALL = re.compile(
    rf"\.(?:(as_count|as_rate)\(\)|(rollup)\(\s*({AGGREGATOR})\s*,\s*([1-9]\d*)\s*\))"
)
NUMBER = re.compile(r"\d+(?:\.\d+)?")
COMPARATOR = re.compile(r">=|<=|>|<")
STRING = r'"[^",]+"'
CHECK = re.compile(
    rf'"([^"]+)"\.over\(({STRING}(?:,{STRING})*)\)\.by\(({STRING}(?:,{STRING})*)\)'
    r"\.last\(([1-9]\d*)\)\.count_by_status\(\)"
)


def parse(text: str) -> Query:
    """Parse a query. Raises QueryError."""
    if text.startswith('"'):
        return _check(text)
    return _Parser(text).query()


def _check(text: str) -> CheckQuery:
    matched = CHECK.fullmatch(text)
    if matched is None:
        raise QueryError(
            f'{text}: a service check is to be "NAME".over("*").by("TAG").last(N).count_by_status()'
        )
    name, over, by, last = matched.groups()
    scope = tuple(tag.strip('"') for tag in over.split(","))
    for tag in scope:
        if tag != "*" and not TAG.fullmatch(tag):
            raise QueryError(f'{text}: over("{tag}") is neither "*" nor a tag "key:value"')
    keys = tuple(tag.strip('"') for tag in by.split(","))
    return CheckQuery(name, () if scope == ("*",) else scope, keys, int(last))


class _Parser:
    """A position in the text of a query, and the rules of the grammar."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def query(self) -> MetricQuery:
        window = self._take(WINDOW)
        expression = self._expression()
        comparator = self._take(COMPARATOR)
        comparison = None
        if comparator:
            threshold = self._need(NUMBER, "a number behind the comparison")
            comparison = Comparison(cast(Comparator, comparator[0]), float(threshold[0]))
        if self._at < len(self._text):
            raise self._error("an end, an operator or a comparison")
        if bool(window) != bool(comparison):
            raise QueryError(f"{self._text}: a window and a comparison go together")
        return MetricQuery(expression, Window(window[1], window[2]) if window else None, comparison)

    def _expression(self) -> Expression:
        left = self._term()
        while operator := self._take(re.compile(r"[+-]")):
            left = Operation(cast(Operator, operator[0]), left, self._term())
        return left

    def _term(self) -> Expression:
        left = self._factor()
        while operator := self._take(re.compile(r"[*/]")):
            left = Operation(cast(Operator, operator[0]), left, self._factor())
        return left

    def _factor(self) -> Expression:
        if opened := self._take(re.compile(r"(default_zero)?\(")):
            inner = self._expression()
            self._need(re.compile(r"\)"), ")")
            return Filled(inner) if opened[1] else inner
        if number := self._take(NUMBER):
            return Number(float(number[0]))
        return self._selection()

    def _selection(self) -> Selection:
        found = self._need(SELECTION, "AGGREGATOR:METRIC{SCOPE}, a number or (")
        calls = []
        while call := self._take(CALL):
            name, rollup, *arguments = call.groups()
            calls.append(Call(name) if name else Call(rollup, tuple(arguments)))
        aggregator, metric, scope, by = found.groups()
        return Selection(aggregator, metric, self._scope(scope), self._keys(by or ""), tuple(calls))

    def _scope(self, text: str) -> tuple[str, ...]:
        if text.strip() == "*":
            return ()
        items = tuple(item.strip() for item in text.split(","))
        for item in items:
            if not SCOPE_ITEM.fullmatch(item):
                raise QueryError(
                    f"{self._text}: {{{text}}} is neither *, key:value, !key:value nor $variable"
                )
        return items

    def _keys(self, text: str) -> tuple[str, ...]:
        keys = tuple(key.strip() for key in text.split(",")) if text else ()
        for key in keys:
            if not re.fullmatch(KEY, key):
                raise QueryError(f"{self._text}: by {{{text}}} is not made of tags' keys")
        return keys

    def _take(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        """Return the match of a pattern at the position, and move behind it and its blanks."""
        matched = pattern.match(self._text, self._at)
        if matched:
            self._at = matched.end()
            while self._text[self._at : self._at + 1] == " ":
                self._at += 1
        return matched

    def _need(self, pattern: re.Pattern[str], what: str) -> re.Match[str]:
        matched = self._take(pattern)
        if matched is None:
            raise self._error(what)
        return matched

    def _error(self, what: str) -> QueryError:
        rest = self._text[self._at :] or "the end"
        return QueryError(f"{self._text}: expected {what}, not: {rest}")
