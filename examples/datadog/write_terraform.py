"""Write ``monitors.tf``, the monitors as resources of Terraform's Datadog provider.

python examples/datadog/write_terraform.py
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PATH = HERE / "monitors.tf"
HEAD = """\
# Made from monitors/*.json by write_terraform.py: change those, and run it again.

terraform {
  required_providers {
    datadog = {
      source = "DataDog/datadog"
    }
  }
}

variable "notify" {
  description = "Handles that every monitor notifies, such as \\"@slack-ops\\""
  type        = string
  default     = ""
}
"""


def text() -> str:
    """Return the file's content."""
    paths = sorted(HERE.glob("monitors/*.json"))
    resources = [
        _resource(path.stem, json.loads(path.read_text(encoding="utf-8"))["definition"])
        for path in paths
    ]
    return "\n".join([HEAD, *resources])


def _resource(name: str, definition: Mapping[str, Any]) -> str:
    options = dict(definition["options"])
    thresholds = options.pop("thresholds")
    head = {key: definition[key] for key in ("name", "type", "query", "tags")}
    lines = [
        f'resource "datadog_monitor" "gunicorn_{name}" {{',
        *_attributes(head, "  "),
        "",
        "  message = <<-EOT",
        *(f"    {line}".rstrip() for line in _template(definition["message"]).splitlines()),
        "",
        "    ${var.notify}",
        "  EOT",
        "",
        *_attributes(options, "  "),
        "",
        "  monitor_thresholds {",
        *_attributes(thresholds, "    "),
        "  }",
        "}",
    ]
    return "\n".join(lines) + "\n"


def _attributes(values: Mapping[str, Any], indent: str) -> Iterator[str]:
    width = max(map(len, values))
    for name, value in values.items():
        yield f"{indent}{name:{width}} = {_literal(value)}"


def _literal(value: Any) -> str:
    """Return a value in HCL: JSON with escaped template markers."""
    return _template(json.dumps(value, ensure_ascii=False))


def _template(string: str) -> str:
    return string.replace("${", "$${").replace("%{", "%%{")


if __name__ == "__main__":
    PATH.write_text(text(), encoding="utf-8")
