"""Every manifest is valid for Kubernetes, Datadog and KEDA, and queries sent metrics."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import signals

from tests.datadog.queries import QueryError, check, parse
from tests.kubernetes import manifests
from tests.kubernetes.manifests import InvalidManifest, Manifest, load, validate


@pytest.mark.parametrize("path", manifests.FILES, ids=lambda path: path.name)
def test_it_is_valid(path: Any) -> None:
    """Each document matches its schema: no unknown field, no wrong type, nothing missing."""
    documents = load(path.name)
    assert documents
    for manifest in documents:
        validate(manifest)


PLANTED: dict[str, tuple[str, str, Callable[[Manifest], object]]] = {
    "unknown field": (
        "deployment-host-ip.yaml",
        "Deployment",
        lambda document: document["spec"].update(replica=2),
    ),
    "wrong type": (
        "deployment-host-ip.yaml",
        "Deployment",
        lambda document: manifests.container(document)["ports"][0].update(containerPort="8000"),
    ),
    "unknown field of a pod": (
        "deployment-socket.yaml",
        "Deployment",
        lambda document: manifests.container(document).update(volumeMount=[]),
    ),
    "missing field": (
        "hpa.yaml",
        "HorizontalPodAutoscaler",
        lambda document: document["spec"].pop("maxReplicas"),
    ),
    "field of another API version": (
        "hpa.yaml",
        "HorizontalPodAutoscaler",
        lambda document: document["spec"].update(targetCPUUtilizationPercentage=50),
    ),
    "metric without a query": (
        "datadogmetrics.yaml",
        "DatadogMetric",
        lambda document: document["spec"].clear(),
    ),
    "unknown field of a metric": (
        "datadogmetrics.yaml",
        "DatadogMetric",
        lambda document: document["spec"].update(max_age="60s"),
    ),
    "number that has to be text": (
        "keda.yaml",
        "ScaledObject",
        lambda document: document["spec"]["triggers"][0]["metadata"].update(queryValue=50),
    ),
    "key that the trigger does not know": (
        "keda.yaml",
        "ScaledObject",
        lambda document: document["spec"]["triggers"][1]["metadata"].update(lastPointOffset="1"),
    ),
    "unknown field of a trigger": (
        "keda.yaml",
        "ScaledObject",
        lambda document: document["spec"]["triggers"][0].update(cached=True),
    ),
    "objective of another version": (
        "datadogpodautoscaler.yaml",
        "DatadogPodAutoscaler",
        lambda document: document["spec"]["objectives"][0].update(type="ControllerObjective"),
    ),
    "target of another version": (
        "datadogpodautoscaler.yaml",
        "DatadogPodAutoscaler",
        lambda document: document["spec"]["objectives"][0]["customQuery"].pop("window"),
    ),
    "rule of the HPA": (
        "datadogpodautoscaler.yaml",
        "DatadogPodAutoscaler",
        lambda document: document["spec"]["applyPolicy"]["scaleUp"].update(selectPolicy="Max"),
    ),
    "query beside the Cluster Agent": (
        "keda-cluster-agent.yaml",
        "ScaledObject",
        lambda document: document["spec"]["triggers"][0]["metadata"].update(query="avg:a{*}"),
    ),
    "role without verbs": (
        "keda-cluster-agent.yaml",
        "ClusterRole",
        lambda document: document["rules"][0].pop("verbs"),
    ),
    "parameter that the trigger does not know": (
        "keda.yaml",
        "TriggerAuthentication",
        lambda document: document["spec"]["secretTargetRef"][0].update(parameter="apikey"),
    ),
}


@pytest.mark.parametrize("planted", PLANTED)
def test_a_planted_error_is_caught(planted: str) -> None:
    """The same document with one planted error is refused."""
    name, kind, spoil = PLANTED[planted]
    manifest = copy.deepcopy(next(document for document in load(name) if document["kind"] == kind))
    validate(manifest)
    spoil(manifest)
    with pytest.raises(InvalidManifest):
        validate(manifest)


def test_queries_ask_for_what_is_sent() -> None:
    """Metrics and tags are the catalog's; each query yields one series, over half a minute."""
    found = list(manifests.queries(manifests.everything()))
    assert len(found) == 8
    for text in found:
        query = parse(text)
        check(query)
        (selection,) = query.selections()  # type: ignore[union-attr]  # no service check here
        assert not selection.by, text
        assert text.endswith(f".rollup(avg, {signals.ROLLUP_S})"), text


def test_a_planted_error_in_a_query_is_caught() -> None:
    """An unknown metric, and a tag that the metric lacks, are found."""
    for text in (
        "avg:gunicorn.worker.utilization{env:prod}",
        "avg:gunicorn.workers.utilization{listener:x}",
        "avg:gunicorn.workers.utilization{env:prod",
    ):
        with pytest.raises(QueryError):
            check(parse(text))
