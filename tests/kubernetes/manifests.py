"""The manifests of the example: parsed, checked against their schemas, and their queries."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

EXAMPLE = Path(__file__).parents[2] / "examples" / "kubernetes"
README = EXAMPLE / "README.md"
FILES = sorted(EXAMPLE.glob("*.yaml"))
CRDS = json.loads((Path(__file__).parent / "crds.json").read_text())
OLDEST = "1.25"

Manifest = dict[str, Any]


class InvalidManifest(Exception):
    """A manifest violates its schema; the text has the place."""


def load(name: str) -> list[Manifest]:
    """Return the documents of one file of the example."""
    return list(yaml.safe_load_all((EXAMPLE / name).read_text()))


def everything() -> list[Manifest]:
    """Return the documents of all files."""
    return [document for path in FILES for document in load(path.name)]


def one(name: str, kind: str) -> Manifest:
    """Return the only document of a kind in a file."""
    (found,) = [document for document in load(name) if document["kind"] == kind]
    return found


def validate(manifest: Manifest) -> None:
    """Check a document against Kubernetes' own schemas, or its CRD's. Raises InvalidManifest."""
    import jsonschema
    import kubernetes_validate

    try:
        if manifest["kind"] in CRDS:
            schema = CRDS[manifest["kind"]] | {"$defs": CRDS["$defs"]}
            jsonschema.Draft202012Validator(schema).validate(manifest)
            return
        for version in (OLDEST, kubernetes_validate.latest_version()):
            kubernetes_validate.validate(manifest, version, strict=True)
    except (jsonschema.ValidationError, kubernetes_validate.ValidationError) as error:
        raise InvalidManifest(f"{manifest['kind']}: {error.message}") from error


def queries(manifests: list[Manifest]) -> Iterator[str]:
    """Return the queries of DatadogMetrics, of KEDA's triggers, and of DatadogPodAutoscalers."""
    for manifest in manifests:
        if manifest["kind"] == "DatadogMetric":
            yield manifest["spec"]["query"]
        elif manifest["kind"] == "ScaledObject":
            asked = [trigger["metadata"].get("query") for trigger in manifest["spec"]["triggers"]]
            yield from filter(None, asked)
        elif manifest["kind"] == "DatadogPodAutoscaler":
            for objective in manifest["spec"]["objectives"]:
                yield from (query["metrics"]["query"] for query in objective_queries(objective))


def objective_queries(objective: Manifest) -> list[Manifest]:
    """Return the queries of an objective of a DatadogPodAutoscaler."""
    found: list[Manifest] = objective["customQuery"]["request"]["queries"]
    return found


def behaviour(manifest: Manifest) -> Any:
    """Return an autoscaler's ``behavior``, in the form of the HPA."""
    if manifest["kind"] == "DatadogPodAutoscaler":
        policy = manifest["spec"]["applyPolicy"]
        return {way: _as_hpa(policy[way]) for way in ("scaleUp", "scaleDown")}
    if manifest["kind"] == "ScaledObject":
        return manifest["spec"]["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    return manifest["spec"]["behavior"]


def _as_hpa(rules: Manifest) -> Manifest:
    return {
        "stabilizationWindowSeconds": rules["stabilizationWindowSeconds"],
        "selectPolicy": rules["strategy"],
        "policies": rules["rules"],
    }


def container(deployment: Manifest) -> Any:
    """Return the only container of a Deployment."""
    (only,) = deployment["spec"]["template"]["spec"]["containers"]
    return only


def environment(deployment: Manifest, facts: dict[str, str]) -> dict[str, str]:
    """Return a container's variables as set by the kubelet.

    :param facts: values at the pod's run time, by field path, for example ``status.hostIP``.
    """
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    known = facts | {f"metadata.labels['{key}']": value for key, value in labels.items()}
    found: dict[str, str] = {}
    for variable in container(deployment)["env"]:
        if "value" in variable:
            found[variable["name"]] = _expanded(variable["value"], found)
        else:
            found[variable["name"]] = known[variable["valueFrom"]["fieldRef"]["fieldPath"]]
    return found


def _expanded(text: str, earlier: dict[str, str]) -> str:
    """Replace each $(NAME) of an earlier variable; other references stay."""
    return re.sub(r"\$\((\w+)\)", lambda pair: earlier.get(pair[1], pair[0]), text)


def fenced(language: str) -> list[str]:
    """Return the README's code blocks in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README.read_text(), re.M | re.S)
