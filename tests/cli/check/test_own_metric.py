"""gunicorn's own ``gunicorn.backlog``, which ``check`` warns about."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from agent import Line, StandInAgent

from tests.conftest import ServerFactory
from tests.lab.check_command import WARNING, check, has_finding
from tests.lab.gunicorn_versions import Gunicorn
from tests.lab.server import CONFIG
from tests.lab.waiting import wait_for

VERSIONS = ("25.3.0", "27.0.1")


@pytest.mark.parametrize("prefix", ["", "web."])
@pytest.mark.parametrize("version", VERSIONS)
def test_it_has_the_name_and_type_of_ours(
    version: str,
    prefix: str,
    installed: Callable[[str], Gunicorn],
    serve: ServerFactory,
    agent: StandInAgent,
) -> None:
    """Both names begin with ``statsd_prefix``; gunicorn's series has no tags."""
    host = agent.url.removeprefix("udp://")
    arguments = ("--enable-backlog-metric", "--statsd-host", host, "--statsd-prefix", prefix)
    server = serve(installed(version), workers=1, arguments=arguments).wait_until_it_serves()
    server.hold(3)  # because 25.3.0 sends no zeros

    def both() -> list[Line] | None:
        lines = [line for datagram in agent.datagrams for line in datagram.lines]
        named = [
            line for line in lines if line.name == f"{prefix}gunicorn.backlog" and line.type == "h"
        ]
        return named if {bool(line.tags) for line in named} == {True, False} else None

    lines = wait_for("both", both)
    assert {len(line.values) for line in lines if not line.tags} == {1}
    server.let_go()
    (line,) = server.our_lines
    assert "[WARNING] gunicorn_backlog: enable_backlog_metric is on" in line


def test_check_warns(agent: StandInAgent, config: Callable[[str], tuple[str, ...]]) -> None:
    """gunicorn's own metric is one warning with a remedy; all other checks are ok."""
    text = f"enable_backlog_metric = True\nstatsd_host = {agent.url.removeprefix('udp://')!r}\n"
    done = check(*config(f"{CONFIG}{text}"))
    assert done.code == WARNING, done
    assert has_finding(done, "warning", "metrics", "enable_backlog_metric is on"), done
    assert "-> unset enable_backlog_metric" in done.out
