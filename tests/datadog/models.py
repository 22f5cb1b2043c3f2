"""Validation of JSON for Datadog's API by the typed models of ``datadog-api-client``.

The models raise on missing fields and wrong types. They keep an unknown field beside the others,
and only mark an unknown value of an enumeration: both are found here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, cast

from datadog_api_client.configuration import Configuration
from datadog_api_client.model_utils import (
    ModelComposed,
    ModelNormal,
    ModelSimple,
    UnparsedObject,
    validate_and_convert_types,
)
from datadog_api_client.v1.model.dashboard import Dashboard
from datadog_api_client.v1.model.metric_metadata import MetricMetadata
from datadog_api_client.v1.model.monitor import Monitor

__all__ = ["Dashboard", "MetricMetadata", "Monitor", "complaints"]

# Neither package has types.
_convert = cast("Callable[..., Any]", validate_and_convert_types)
_configuration = cast("Callable[[], Any]", Configuration)
_checked: dict[tuple[str, str], list[str]] = {}  # by the model's name and the object's JSON


def complaints(model: type[ModelNormal], sent: object) -> list[str]:
    """Return all defects of an object for the API, each with its path in the object."""
    key = model.__name__, json.dumps(sent)
    if key not in _checked:
        _checked[key] = _check(model, sent)
    return _checked[key]


def _check(model: type[ModelNormal], sent: object) -> list[str]:
    try:
        # Names are those of the JSON, and types are checked.
        parsed = _convert(sent, (model,), ["sent"], True, True, _configuration())
    except (TypeError, ValueError) as error:
        return [" ".join(str(error).split())]
    return list(_walk(parsed, ""))


def _walk(value: Any, path: str) -> Iterator[str]:
    if isinstance(value, UnparsedObject):
        yield f"{path or '/'}: unparsed"
    elif isinstance(value, ModelSimple):
        if getattr(value, "_unparsed", False):
            yield f"{path}: {value.value!r} is none of {sorted(value.allowed_values)}"
    elif isinstance(value, ModelNormal):
        known = value.attribute_map.keys()
        for name, inner in value._data_store.items():
            if name not in known:
                yield f"{path}/{name}: unknown field"
            yield from _walk(inner, f"{path}/{name}")
    elif isinstance(value, ModelComposed):
        for instance in value._composed_instances:
            yield from _walk(instance, path)
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from _walk(inner, f"{path}/{name}")
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _walk(inner, f"{path}/{number}")
