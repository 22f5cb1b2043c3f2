"""The grammar of our queries, and their check against the catalog."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.datadog.queries import QueryError, check, parse
from tests.datadog.query import (
    Call,
    CheckQuery,
    Comparison,
    Expression,
    Filled,
    MetricQuery,
    Number,
    Operation,
    Selection,
    Window,
)

GOOD = (
    "avg(last_10m):avg:gunicorn.workers.utilization{*} by {env,service,app} > 90",
    "max(last_5m):max:gunicorn.backlog.max{*} by {app} / min:gunicorn.backlog.limit{*} by {app}"
    " * 100 > 50",
    "sum(last_5m):sum:gunicorn.backlog.dropped{env:prod,$app} by {listener}.as_count() >= 1",
    "avg:gunicorn.workers.utilization{service:web,kube_namespace:shop}.rollup(max, 30)",
    "sum:gunicorn.workers{state:working} / sum:gunicorn.workers{*}",
    "sum:gunicorn.backlog.count{*}.as_rate()",
    "avg(last_10m):default_zero(sum:gunicorn.workers.spawned{*} by {host}.as_rate()"
    " / sum:gunicorn.workers{*} by {host}) * 600 > 5",
    "sum:gunicorn.workers{!app:*.2,env:prod} by {app}",
    '"gunicorn.is_running".over("*").by("app","host").last(2).count_by_status()',
    '"gunicorn.is_running".over("env:prod").by("app").last(3).count_by_status()',
)


@pytest.mark.parametrize("text", GOOD)
def test_it_is_understood(text: str) -> None:
    """The text of a parsed query equals the original."""
    query = parse(text)
    check(query)
    assert str(query) == text


def test_a_query_is_made_of_its_parts() -> None:
    """Window, selection, scope, groups, calls and comparison are parsed to their fields."""
    assert parse(
        "sum(last_2h):(1 + max:a.b{env:x,$app} by {app,host}.as_count().rollup(sum, 60)) / 2 <= 0.5"
    ) == MetricQuery(
        Operation(
            "/",
            Operation(
                "+",
                Number(1),
                Selection(
                    "max",
                    "a.b",
                    ("env:x", "$app"),
                    ("app", "host"),
                    (Call("as_count"), Call("rollup", ("sum", "60"))),
                ),
            ),
            Number(2),
        ),
        Window("sum", "2h"),
        Comparison("<=", 0.5),
    )
    assert Window("sum", "2h").seconds == 7200
    assert parse('"a.b".over("env:x").by("c","d").last(9).count_by_status()') == CheckQuery(
        "a.b", ("env:x",), ("c", "d"), 9
    )


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "expected AGGREGATOR:METRIC{SCOPE}, a number or (, not: the end"),
        ("avg:gunicorn.workers", "expected AGGREGATOR"),
        ("p95:gunicorn.workers{*}", "expected AGGREGATOR"),
        ("avg:gunicorn.workers{*} + ", "not: the end"),
        ("avg:gunicorn.workers{env:*}", "is neither *, key:value, !key:value nor $variable"),
        ("avg:gunicorn.workers{!$env}", "is neither *"),
        ("default_one(avg:gunicorn.workers{*})", "not: default_one("),
        ("default_zero avg:gunicorn.workers{*}", "not: default_zero"),
        ("avg:gunicorn.workers{env:a OR env:b}", "is neither *"),
        ("avg:gunicorn.workers{*} by {App}", "is not made of tags' keys"),
        ("avg:gunicorn.workers{*}.fill(zero)", "not: .fill(zero)"),
        ("anomalies(avg:gunicorn.workers{*}, 'basic', 2)", "not: anomalies("),
        ("avg(last_5m):avg:gunicorn.workers{*}", "go together"),
        ("avg:gunicorn.workers{*} > 1", "go together"),
        ("avg(last_5x):avg:gunicorn.workers{*} > 1", "not: avg(last_5x)"),
        ("avg(last_5m):avg:gunicorn.workers{*} > x", "a number behind the comparison, not: x"),
        ("avg(last_5m):avg:gunicorn.workers{*} > 1 2", "not: 2"),
        ("(avg:gunicorn.workers{*}", "expected ), not: the end"),
        ('"gunicorn.is_running".over("*").last(2)', "a service check is to be"),
        ('"gunicorn.is_running".over("all").by("app").last(2).count_by_status()', "neither"),
        ('"gunicorn.is_running".over("!app:*.2").by("app").last(2).count_by_status()', "neither"),
    ],
)
def test_what_we_do_not_use_is_refused(text: str, complaint: str) -> None:
    """The error is one line with the query and the defect."""
    with pytest.raises(QueryError) as caught:
        parse(text)
    assert complaint in str(caught.value)
    assert str(caught.value).startswith(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("avg:gunicorn.worker{*}", "gunicorn.worker: not in the catalog"),
        ("max:gunicorn.workers.max{*}", "gunicorn.workers is a gauge, only a histogram has a .max"),
        ("max:gunicorn.backlog{*}", "a histogram has no series of that name, only .avg, .max"),
        ("max:gunicorn.backlog.min{*}", "the Agent makes avg, max, median, 95percentile, count"),
        ("sum:gunicorn.workers{*}.as_count()", "a gauge has no as_count()"),
        ("max:gunicorn.backlog.max{*}.as_count()", "a histogram has no as_count()"),
        ("sum:gunicorn.backlog.dropped{*}", "a count needs as_count()"),
        ("sum:gunicorn.workers.utilization{*}", "a sum of percents over servers says nothing"),
        ("sum:gunicorn.request.wait.avg{*}", "a sum of milliseconds over servers says nothing"),
        ("sum(last_5m):sum:gunicorn.workers{*} > 1", "sum(last_5m) goes with as_count()"),
        ("avg:gunicorn.workers{listener:a}", "gunicorn.workers has no tag listener"),
        ("avg:gunicorn.workers{!listener:a*}", "gunicorn.workers has no tag listener"),
        ("default_zero(avg:gunicorn.worker{*})", "gunicorn.worker: not in the catalog"),
        ("avg:gunicorn.workers{$listener}", "gunicorn.workers has no tag listener"),
        ("avg:gunicorn.workers{*} by {listener}", "gunicorn.workers has no tag listener"),
        (
            "avg:gunicorn.workers{state:busy}",
            "state:busy is never sent, only state:idle, ",
        ),
        ("avg:gunicorn.is_running{*}", "is a service check, not a metric"),
        ("avg:gunicorn.workers{*} by {app} / avg:gunicorn.workers{*}", "grouped by the same tags"),
        ("1 + 2", "no metric in it"),
        ('"gunicorn.workers".over("*").by("app").last(2).count_by_status()', "is no service check"),
        ('"gunicorn.is_running".over("*").by("pid").last(2).count_by_status()', "has no tag pid"),
        ('"gunicorn.is_running".over("pid:1").by("app").last(2).count_by_status()', "no tag pid"),
    ],
)
def test_what_nobody_sends_is_refused(text: str, complaint: str) -> None:
    """An unknown metric, tag or value, and an unfit type, are refused."""
    with pytest.raises(QueryError) as caught:
        check(parse(text))
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


SELECTIONS = st.builds(
    Selection,
    st.sampled_from(("avg", "min", "max", "sum")),
    st.from_regex(r"[a-z][a-z0-9_]{0,8}(\.[a-z0-9_]{1,8}){0,2}", fullmatch=True),
    st.lists(
        st.sampled_from(("$app", "env:prod", "listener:0.0.0.0:80", "!app:*.2")), max_size=2
    ).map(tuple),
    st.lists(st.sampled_from(("app", "env", "host")), max_size=2).map(tuple),
    st.lists(st.sampled_from((Call("as_rate"), Call("rollup", ("avg", "60")))), max_size=2).map(
        tuple
    ),
)
NUMBERS = st.integers(0, 999).map(lambda number: Number(number / 4))
EXPRESSIONS: st.SearchStrategy[Expression] = st.recursive(
    SELECTIONS | NUMBERS,
    lambda inner: (
        st.builds(Operation, st.sampled_from(("+", "-", "*", "/")), inner, inner)
        | st.builds(Filled, inner)
    ),
    max_leaves=6,
)


@given(EXPRESSIONS)
def test_every_expression_is_read_as_it_was_written(expression: Expression) -> None:
    """Precedence and brackets are preserved."""
    assert parse(str(expression)) == MetricQuery(expression)


@given(st.text(alphabet='avg:(){}*.,><+ 1x"$by_', max_size=40))
def test_junk_is_an_error_of_ours(text: str) -> None:
    """Any text is a query or raises QueryError."""
    try:
        query = parse(text)
    except QueryError:
        return
    assert parse(str(query)) == query
