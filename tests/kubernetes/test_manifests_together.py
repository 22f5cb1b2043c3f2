"""The manifests are consistent: with each other, with the simulation, and with the README."""

from __future__ import annotations

import shlex
from typing import Any

import hpa
import pytest
import simulate
import yaml

from gunicorn_backlog.cli.arguments import parse
from tests.kubernetes import manifests
from tests.kubernetes.manifests import InvalidManifest, Manifest, load, one, validate

DEPLOYMENTS = ("deployment-host-ip.yaml", "deployment-socket.yaml")
GRACEFUL_TIMEOUT_S = 30  # gunicorn's default


def test_all_autoscalers_ask_the_same_and_do_the_same() -> None:
    """KEDA's triggers have the queries, targets, limits and behavior of the HPA's metrics.

    The DatadogPodAutoscaler counts busy workers per pod: the share of the HPA's target.
    """
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
    by_agent = one("keda-cluster-agent.yaml", "ScaledObject")
    for metric, trigger in zip(external, by_agent["spec"]["triggers"], strict=True):
        target, proxy = dict(metric["target"]), trigger["metadata"]
        assert target.pop("type") == trigger["metricType"]
        assert list(target.values()) == [proxy["targetValue"]]
        name = f"datadogmetric@{proxy['datadogMetricNamespace']}:{proxy['datadogMetricName']}"
        assert metric["metric"]["name"] == name
    own = one("datadogpodautoscaler.yaml", "DatadogPodAutoscaler")
    busy, waiting = (objective["customQuery"] for objective in own["spec"]["objectives"])
    share = float(external[0]["target"]["value"]) / 100
    assert float(busy["value"]["absoluteValue"]) == share * simulate.WORKERS
    assert waiting["value"]["absoluteValue"] == external[1]["target"]["averageValue"]
    utilization, workers = busy["request"]["queries"]
    assert busy["request"]["formula"] == f"{utilization['name']} * {workers['name']} / 100"
    queries = [utilization, *waiting["request"]["queries"]]
    assert [query["metrics"]["query"] for query in queries] == [
        asked[metric["metric"]["name"]] for metric in external
    ]
    for each in (scaled, by_agent, own, one("hpa-async.yaml", "HorizontalPodAutoscaler")):
        assert manifests.behaviour(each) == manifests.behaviour(scaler)
        assert limits(each) == limits(scaler)


def limits(manifest: Manifest) -> tuple[int, int]:
    """Return an autoscaler's least and most replicas."""
    spec = manifest["spec"] | manifest["spec"].get("constraints", {})
    least, most = (spec.get(f"{key}Replicas") for key in ("min", "max"))
    return least or spec["minReplicaCount"], most or spec["maxReplicaCount"]


def test_the_hpa_of_event_loops() -> None:
    """Each metric exists; the first and its target are those of hpa.yaml."""
    loops, scaler = (
        one(name, "HorizontalPodAutoscaler") for name in ("hpa-async.yaml", "hpa.yaml")
    )
    assert loops["spec"]["metrics"][0] == scaler["spec"]["metrics"][0]
    names = {
        f"datadogmetric@shop:{each['metadata']['name']}" for each in load("datadogmetrics.yaml")
    }
    asked = {each["external"]["metric"]["name"] for each in loops["spec"]["metrics"]}
    assert asked <= names


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
    of_cluster = {"ClusterRole", "ClusterRoleBinding"}
    assert {
        document["metadata"]["namespace"]
        for document in documents
        if document["kind"] not in of_cluster
    } == {"shop"}
    for name in DEPLOYMENTS:
        deployment = one(name, "Deployment")
        template = deployment["spec"]["template"]["metadata"]["labels"]
        assert template.items() >= deployment["spec"]["selector"]["matchLabels"].items()
        assert template.items() >= deployment["metadata"]["labels"].items()
        assert "replicas" not in deployment["spec"]
    for document in documents:
        spec = document.get("spec", {})
        if target := spec.get("scaleTargetRef") or spec.get("targetRef"):
            assert target["name"] == deployment["metadata"]["name"]
    for name in ("keda.yaml", "keda-cluster-agent.yaml"):
        login = one(name, "TriggerAuthentication")["metadata"]["name"]
        for trigger in one(name, "ScaledObject")["spec"]["triggers"]:
            assert trigger["authenticationRef"]["name"] == login


def test_kedas_access_to_the_cluster_agent() -> None:
    """Each key that KEDA reads is in a Secret of the file; the token's account has the role."""
    name = "keda-cluster-agent.yaml"
    secrets = {each["metadata"]["name"]: each for each in load(name) if each["kind"] == "Secret"}
    for reference in one(name, "TriggerAuthentication")["spec"]["secretTargetRef"]:
        secret = secrets[reference["name"]]
        if reference["key"] == "token":
            assert secret["type"] == "kubernetes.io/service-account-token"
            (account,) = secret["metadata"]["annotations"].values()
        else:
            assert reference["key"] == reference["parameter"]
            assert reference["key"] in secret["stringData"]
    binding = one(name, "ClusterRoleBinding")
    assert binding["subjects"][0]["name"] == account
    assert one(name, "ServiceAccount")["metadata"]["name"] == account
    assert binding["roleRef"]["name"] == one(name, "ClusterRole")["metadata"]["name"]


def test_pre_stop_ends_before_the_grace_period() -> None:
    """The command is valid; its timeout and gunicorn's fit; the probes of its quiet period too."""
    for name in DEPLOYMENTS:
        deployment = one(name, "Deployment")
        web = manifests.container(deployment)
        command = web["lifecycle"]["preStop"]["exec"]["command"]
        assert command[0] == "gunicorn-backlog"
        drained = parse(command[1:], None)
        pod = deployment["spec"]["template"]["spec"]
        assert drained.timeout + GRACEFUL_TIMEOUT_S < pod["terminationGracePeriodSeconds"]
        assert drained.allow > drained.quiet // web["readinessProbe"]["periodSeconds"]


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
