"""The README, followed step by step: from a Deployment to more pods of it.

The cluster is a stand-in (the controller's algorithm of ``hpa``), and time a time-lapse. gunicorn
runs with the manifest's variables, and two pods push what one server does.
"""

from __future__ import annotations

from agent import StandInAgent
from hpa import Autoscaler, average_value, value

from gunicorn_backlog.config.agent_address import Address
from tests.conftest import AgentFactory, ServerFactory
from tests.datadog.agent_flush import Received
from tests.datadog.grammar import parse
from tests.datadog.made import together, with_tags
from tests.datadog.query import MetricQuery
from tests.datadog.series import Span, series_of
from tests.kubernetes import manifests
from tests.kubernetes.manifests import Manifest
from tests.lab.cli_command import run_cli
from tests.lab.gunicorn_versions import Gunicorn
from tests.lab.pushes import latest, wait_until_all_are_idle
from tests.lab.time_lapse import INTERVAL_S, minutes
from tests.lab.waiting import wait_for

PODS = 2
WORKERS = 4
WAITING = 6  # connections in a pod's backlog
FACTS = {"metadata.name": "shop-1", "metadata.uid": "1", "status.hostIP": "127.0.0.1"}


def test_from_a_deployment_to_more_pods(
    newest: Gunicorn, serve: ServerFactory, listen: AgentFactory
) -> None:
    """Idle, the autoscaler keeps the least number of pods; saturated, it asks for more."""
    agent = listen(Address("udp", host="127.0.0.1", port=0))
    deployment = manifests.one("deployment-host-ip.yaml", "Deployment")
    environ = manifests.environment(deployment, FACTS)
    environ |= {
        "DD_DOGSTATSD_PORT": agent.url.rpartition(":")[2],
        "GUNICORN_BACKLOG_INTERVAL": str(INTERVAL_S),
    }
    server = serve(newest, workers=WORKERS, config=None, environ=environ).wait_until_it_serves()
    status = run_cli("status", str(server.pid))
    assert (status.code, status.err) == (0, "")
    wait_until_all_are_idle(agent, WORKERS)
    assert desired(agent) == PODS
    server.hold(WORKERS + WAITING)
    wait_for("a queue", lambda: min(latest(agent).values("gunicorn.backlog")) == WAITING)
    # Utilization asks for PODS * 100 / 50, the backlog for PODS * WAITING / 4.
    assert desired(agent) == 4


def desired(agent: StandInAgent) -> int:
    """Return the pods that hpa.yaml asks for after three minutes of the load of now."""
    got = minutes(agent, 3)
    fleet = together(*(with_tags(got, pod_name=f"shop-{number}") for number in range(PODS)))
    hpa = manifests.one("hpa.yaml", "HorizontalPodAutoscaler")["spec"]
    proposals = [proposal(metric["external"], fleet) for metric in hpa["metrics"]]
    scaler = Autoscaler(hpa["minReplicas"], hpa["maxReplicas"])
    return scaler.sync(0, proposals, PODS)


def proposal(external: Manifest, fleet: Received) -> int:
    """Return the replicas for one metric of the HPA."""
    query = parse(query_of(external["metric"]["name"]))
    assert isinstance(query, MetricQuery)
    (points,) = series_of(query.expression, fleet, Span(0, fleet.until_s)).values()
    last_but_one = points[sorted(points)[-2]]
    target = external["target"]
    if target["type"] == "Value":
        return value(last_but_one, float(target["value"]), PODS, PODS)
    return average_value(last_but_one, float(target["averageValue"]), PODS)


def query_of(name: str) -> str:
    """Return the query of a DatadogMetric by the HPA's name for it."""
    found = {
        f"datadogmetric@{each['metadata']['namespace']}:{each['metadata']['name']}": each["spec"]
        for each in manifests.load("datadogmetrics.yaml")
    }
    return str(found[name]["query"])
