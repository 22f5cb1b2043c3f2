"""The Deployments' variables, in a real gunicorn: the pushes and their destination."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from agent import Line, StandInAgent

from gunicorn_backlog.cli.arguments import parse as parse_command
from gunicorn_backlog.config.agent_address import Address
from gunicorn_backlog.metrics.catalog import QUEUED
from tests.conftest import AgentFactory, ServerFactory
from tests.datadog.queries import metric_of, parse
from tests.kubernetes import manifests
from tests.lab.cli_command import run_cli
from tests.lab.gunicorn_versions import Gunicorn
from tests.lab.sandbox import require
from tests.lab.waiting import wait_for

FACTS = {
    "metadata.name": "shop-6c9f8d7b5-x2lqv",
    "metadata.uid": "5e5dbd43-5e3c-4a6c-a5d5-9a7d0f6a2f4e",
}
TAGS = {
    "env:prod",
    "service:shop",
    "version:1.0.0",
    f"pod_name:{FACTS['metadata.name']}",
    f"dd.internal.entity_id:{FACTS['metadata.uid']}",
}
WORKERS = 4

# The node's folder, mounted as by the kubelet: read-only, at the path in the manifest.
MOUNTED = """
set -e
mount -t tmpfs none /var/run
mkdir -p "$2"
mount --bind "$1" "$2"
mount -o remount,ro,bind "$2"
shift 2
exec "$@"
"""


@pytest.mark.parametrize("host_ip", ["127.0.0.1", "::1"])
def test_by_the_hosts_address(
    host_ip: str, newest: Gunicorn, serve: ServerFactory, listen: AgentFactory
) -> None:
    """The container's variables, except for the port, lead to the Agent with all tags."""
    deployment = manifests.one("deployment-host-ip.yaml", "Deployment")
    environ = manifests.environment(deployment, FACTS | {"status.hostIP": host_ip})
    agent = listen(Address("udp", host=host_ip, port=0))
    environ |= {"DD_DOGSTATSD_PORT": agent.url.rpartition(":")[2]}
    serve(newest, workers=WORKERS, config=None, environ=environ)
    check(agent)


def test_by_the_socket(
    newest: Gunicorn, serve: ServerFactory, listen: AgentFactory, tmp_path: Path
) -> None:
    """The manifest's variables, folder and path lead to the Agent without a change."""
    require("unshare", "-m", "true")
    deployment = manifests.one("deployment-socket.yaml", "Deployment")
    environ = manifests.environment(deployment, FACTS)
    (mount,) = manifests.container(deployment)["volumeMounts"]
    assert mount["readOnly"]
    folder = tmp_path / "node"
    folder.mkdir()
    run_by = ("unshare", "-m", "sh", "-c", MOUNTED, "sh", str(folder), mount["mountPath"])
    name = Path(environ["DD_DOGSTATSD_URL"]).name
    agent = listen(Address("unixgram", path=str(folder / name)))
    serve(newest, workers=WORKERS, config=None, environ=environ, run_by=run_by)
    check(agent)


def check(agent: StandInAgent) -> None:
    """Check that all lines have all tags, and that the autoscalers' metrics are among them."""
    wait_for("all workers to be idle", lambda: pushed(agent, "gunicorn.workers", {"state:idle"}))
    wait_for("an interval", lambda: pushed(agent, "gunicorn.is_running", set()))
    for line in lines(agent):
        assert line.tags >= TAGS, line
    for text in manifests.queries(manifests.everything()):
        (selection,) = parse(text).selections()  # type: ignore[union-attr]  # no service check
        metric, _ = metric_of(selection.metric)
        if metric is QUEUED:
            continue  # of event loops with a pool; these are sync workers
        assert pushed(agent, metric.name, set(selection.scope)), text


def test_pre_stop(newest: Gunicorn, serve: ServerFactory) -> None:
    """The command of preStop ends a quiet period after the last request, not before."""
    server = serve(newest, workers=WORKERS).wait_until_it_serves()
    web = manifests.container(manifests.one("deployment-host-ip.yaml", "Deployment"))
    command = web["lifecycle"]["preStop"]["exec"]["command"][1:]
    server.hold(1)
    wait_for("the request", lambda: server.journal.in_flight().total() == 1)
    with ThreadPoolExecutor(1) as pool:
        draining = pool.submit(run_cli, *command, str(server.pid))
        server.let_go()
        released_s = time.monotonic()
        done = draining.result()
    assert (done.code, done.err) == (0, "")
    assert time.monotonic() - released_s > parse_command(command, None).quiet / 2


def lines(agent: StandInAgent) -> list[Line]:
    """Return all lines so far; with many tags a push takes several datagrams."""
    return [line for datagram in list(agent.datagrams) for line in datagram.lines]


def pushed(agent: StandInAgent, name: str, tags: set[str]) -> list[Line]:
    """Return the lines of a metric with these tags; of idle workers only when all are idle."""
    found = [line for line in lines(agent) if line.name == name and line.tags >= tags]
    return [line for line in found if "state:idle" not in line.tags or line.values == (WORKERS,)]
