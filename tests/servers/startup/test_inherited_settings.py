"""Settings that gunicorn or Datadog already has apply without settings of ours."""

from __future__ import annotations

from agent import StandInAgent

from tests.conftest import ServerFactory
from tests.lab.gunicorn_versions import Gunicorn
from tests.lab.nightly import NEWEST_BY_DAY
from tests.lab.pushes import next_pushes
from tests.lab.waiting import wait_for

INTERVAL = {"GUNICORN_BACKLOG_INTERVAL": "0.1"}


def port_of(agent: StandInAgent) -> str:
    """Return the stand-in's port."""
    return agent.url.rpartition(":")[2]


def test_gunicorns_statsd_settings(
    gunicorn: Gunicorn, serve: ServerFactory, agent: StandInAgent
) -> None:
    """Address, prefix and tags of gunicorn's own statsd apply to our metrics."""
    address = ("--statsd-host", f"127.0.0.1:{port_of(agent)}")
    names = ("--statsd-prefix", "shop.", "--dogstatsd-tags", "team:web,tier:1")
    serve(gunicorn, workers=1, arguments=(*address, *names), environ=INTERVAL)

    # gunicorn also sends its own metrics, with other names.
    wait_for("a push", lambda: any(b"shop.gunicorn.workers.spawned:1" in o for o in octets(agent)))
    (push,) = [o for o in octets(agent) if b"shop.gunicorn.workers.spawned:1" in o]
    lines = push.decode().splitlines()
    assert all(line.startswith(("shop.gunicorn.", "_sc|gunicorn.is_running|")) for line in lines)
    assert all(line.endswith(",team:web,tier:1") for line in lines)


def octets(agent: StandInAgent) -> list[bytes]:
    """Return the bytes of all datagrams so far."""
    return [datagram.octets for datagram in agent.datagrams]


@NEWEST_BY_DAY
def test_datadogs_variables(gunicorn: Gunicorn, serve: ServerFactory, agent: StandInAgent) -> None:
    """Datadog's variables take precedence over gunicorn's settings; each tag is sent once."""
    environ = {
        "DD_AGENT_HOST": "127.0.0.1",
        "DD_DOGSTATSD_PORT": port_of(agent),
        "DD_ENV": "prod",
        "DD_SERVICE": "shop",
        "DD_VERSION": "1.2",
        "DD_ENTITY_ID": "pod-1",
        "DD_TAGS": "env:other,team:web zone:a",
        "DATADOG_TAGS": "team:web",
    }
    arguments = ("--statsd-host", "127.0.0.1:9", "--dogstatsd-tags", "service:other,zone:a")
    serve(gunicorn, workers=1, environ=environ | INTERVAL, arguments=arguments)

    next_pushes(agent, 1)
    tags = {"env:prod", "service:shop", "version:1.2", "dd.internal.entity_id:pod-1"}
    tags |= {"team:web", "zone:a", "app:lab"}
    for line in octets(agent)[-1].decode().splitlines():
        written = line.partition("|#")[2].split(",")
        assert len(written) == len(set(written))
        assert set(written) >= tags
        assert not {"env:other", "service:other"} & set(written)
