"""The manifests are consistent: with each other, with the simulation, and with the README."""

from __future__ import annotations

import shlex
from typing import Any

import hpa
import pytest
import simulate
import yaml

from tests.kubernetes import manifests
from tests.kubernetes.manifests import InvalidManifest, load, one, validate

DEPLOYMENTS = ("deployment-host-ip.yaml", "deployment-socket.yaml")


def test_both_autoscalers_ask_the_same_and_do_the_same() -> None:
    """KEDA's triggers have the queries, targets, limits and behavior of the HPA's metrics."""
    scaler, scaled = one("hpa.yaml", "HorizontalPodAutoscaler"), one("keda.yaml", "ScaledObject")
    asked = {
        f"datadogmetric@{metric['metadata']['namespace']}:{metric['metadata']['name']}": (
            metric["spec"]["query"]
        )
        for metric in load("datadogmetrics.yaml")
    }
    external = [metric["external"] for metric in scaler["spec"]["metrics"]]
    triggers = scaled["spec"]["triggers"]
    for metric, trigger in zip(external, triggers, strict=True):
        target = dict(metric["target"])
        assert target.pop("type") == trigger["metricType"]
        assert list(target.values()) == [trigger["metadata"]["queryValue"]]
        assert asked[metric["metric"]["name"]] == trigger["metadata"]["query"]
    assert manifests.behaviour(scaler) == manifests.behaviour(scaled)
    assert scaler["spec"]["minReplicas"] == scaled["spec"]["minReplicaCount"]
    assert scaler["spec"]["maxReplicas"] == scaled["spec"]["maxReplicaCount"]


def test_the_simulation_is_of_these_manifests() -> None:
    """Limits, rules, targets and workers equal the simulated ones."""
    scaler = one("hpa.yaml", "HorizontalPodAutoscaler")
    spec = scaler["spec"]
    assert (spec["minReplicas"], spec["maxReplicas"]) == (simulate.LEAST, simulate.MOST)
    assert _rules(manifests.behaviour(scaler)["scaleUp"]) == simulate.OUR_UP
    assert _rules(manifests.behaviour(scaler)["scaleDown"]) == hpa.DOWN
    utilization, backlog = (metric["external"]["target"] for metric in spec["metrics"])
    assert int(utilization["value"]) in {case.target for case in simulate.cases()}
    expected = simulate.backlog_target(simulate.WAITING, simulate.WORKERS)
    assert float(backlog["averageValue"]) == expected
    for name in DEPLOYMENTS:
        arguments = manifests.container(one(name, "Deployment"))["args"]
        assert int(arguments[arguments.index("--workers") + 1]) == simulate.WORKERS


def _rules(written: Any) -> hpa.Rules:
    assert written["selectPolicy"] == "Max"
    policies = [
        hpa.Policy(policy["type"], policy["value"], policy["periodSeconds"])
        for policy in written["policies"]
    ]
    return hpa.Rules(written["stabilizationWindowSeconds"], tuple(policies))


def test_they_are_about_the_same_deployment() -> None:
    """Names, namespaces, labels and secrets that a manifest references exist in the others."""
    documents = manifests.everything()
    assert {document["metadata"]["namespace"] for document in documents} == {"shop"}
    for name in DEPLOYMENTS:
        deployment = one(name, "Deployment")
        template = deployment["spec"]["template"]["metadata"]["labels"]
        assert template.items() >= deployment["spec"]["selector"]["matchLabels"].items()
        assert template.items() >= deployment["metadata"]["labels"].items()
        assert "replicas" not in deployment["spec"]
    for document in documents:
        if target := document["spec"].get("scaleTargetRef"):
            assert target["name"] == deployment["metadata"]["name"]
    (login,) = [document for document in documents if document["kind"] == "TriggerAuthentication"]
    for trigger in one("keda.yaml", "ScaledObject")["spec"]["triggers"]:
        assert trigger["authenticationRef"]["name"] == login["metadata"]["name"]


def test_the_deployments_differ_in_the_agents_address_only() -> None:
    """The README's statements about one Deployment hold for the other."""
    by_address, by_socket = (one(name, "Deployment") for name in DEPLOYMENTS)
    pod = by_socket["spec"]["template"]["spec"]
    assert manifests.container(by_socket).pop("volumeMounts")
    assert pod.pop("volumes")
    for deployment, name in ((by_address, "DD_AGENT_HOST"), (by_socket, "DD_DOGSTATSD_URL")):
        variables = manifests.container(deployment)["env"]
        (address,) = [variable for variable in variables if variable["name"] == name]
        variables.remove(address)
    assert by_address == by_socket


def test_the_somaxconn_of_the_readme_goes_into_a_deployment() -> None:
    """The README's snippet is valid in its place, with a quoted value."""
    (snippet,) = [yaml.safe_load(block) for block in manifests.fenced("yaml")]
    for name in DEPLOYMENTS:
        deployment = one(name, "Deployment")
        deployment["spec"]["template"]["spec"] |= snippet["spec"]["template"]["spec"]
        validate(deployment)
    snippet["spec"]["template"]["spec"]["securityContext"]["sysctls"][0]["value"] = 8192
    deployment["spec"]["template"]["spec"] |= snippet["spec"]["template"]["spec"]
    with pytest.raises(InvalidManifest):
        validate(deployment)


def test_the_command_for_the_secret_makes_what_keda_asks_for() -> None:
    """Name, namespace and keys of the command in keda.yaml equal those of the references."""
    text = (manifests.EXAMPLE / "keda.yaml").read_text()
    comment = [line.removeprefix("#").strip(" \\") for line in text.splitlines() if line[:1] == "#"]
    words = shlex.split(" ".join(comment[comment.index("") :]))
    name = words[words.index("generic") + 1]
    keys = {word.split("=")[1] for word in words if word.startswith("--from-literal=")}
    assert words[words.index("--namespace") + 1] == "shop"
    references = one("keda.yaml", "TriggerAuthentication")["spec"]["secretTargetRef"]
    assert {(reference["name"], reference["key"]) for reference in references} == {
        (name, key) for key in keys
    }
