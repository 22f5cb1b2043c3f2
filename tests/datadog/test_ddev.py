"""Datadog's own validator, ``ddev validate``, on the metadata and the dashboard.

ddev expects a checkout like integrations-extras: the test makes a skeleton. ddev requires an older
``datadog-api-client`` than the other tests, and has a virtual environment of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gunicorn_backlog.metrics.catalog import IS_RUNNING
from tests.datadog.files import FOLDER

pytestmark = pytest.mark.nightly  # an installation of a hundred packages

NAME = "gunicorn_backlog"  # the column ``integration`` has to be the folder's name
MANIFEST = {
    "manifest_version": "2.0.0",
    "app_uuid": "7a1f0d3e-1e0e-4d0a-8a0e-1f6a7c0f3b1a",
    "app_id": "gunicorn-backlog",
    "assets": {
        "integration": {
            "source_type_name": NAME,
            "metrics": {
                "prefix": "gunicorn.",
                "check": "gunicorn.workers",
                "metadata_path": "metadata.csv",
            },
            "service_checks": {"metadata_path": "assets/service_checks.json"},
        },
        "dashboards": {NAME: "assets/dashboards/overview.json"},
    },
}
SERVICE_CHECK = {
    "agent_version": "7.25.0",
    "integration": NAME,
    "check": IS_RUNNING.name,
    "statuses": ["ok", "critical"],
    "groups": ["app", "bind"],
    "name": "gunicorn is running",
    "description": IS_RUNNING.description,
}


@pytest.fixture(scope="module")
def ddev(request: pytest.FixtureRequest) -> Path:
    """The command, in a virtual environment of pytest's cache."""
    folder = Path(request.config.cache.mkdir("ddev"))
    command = folder / "bin" / "ddev"
    if not command.exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "ddev"]
        done = subprocess.run(pip, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            pytest.skip(f"ddev can't be installed: {done.stderr.strip()[-200:]}")
    return command


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A skeleton of integrations-extras with our files."""
    ours = tmp_path / "integrations-extras" / NAME
    (ours / "assets" / "dashboards").mkdir(parents=True)
    (ours / "manifest.json").write_text(json.dumps(MANIFEST))
    (ours / "assets" / "service_checks.json").write_text(json.dumps([SERVICE_CHECK]))
    (ours / "assets" / "dashboards" / "overview.json").write_text(
        (FOLDER / "dashboard.json").read_text()
    )
    metadata = (FOLDER / "metadata.csv").read_text()
    (ours / "metadata.csv").write_text(metadata.replace(",gunicorn,", f",{NAME},"))
    git = ["git", "-C", str(ours.parent), "-c", "user.name=lab", "-c", "user.email=lab@localhost"]
    subprocess.run([*git, "init", "--quiet"], check=True)
    subprocess.run([*git, "commit", "--quiet", "--allow-empty", "--message", "x"], check=True)
    return ours


def validate(ddev: Path, checkout: Path, what: str) -> subprocess.CompletedProcess[str]:
    """Run ``ddev validate`` offline on the skeleton."""
    config = checkout.parents[1] / "config.toml"
    config.write_text(f'repo = "extras"\n[repos]\nextras = "{checkout.parent}"\n')
    command = [str(ddev), "--config", str(config), "--extras", "validate", what, NAME]
    environ = {"PATH": os.environ["PATH"], "HOME": str(checkout.parents[1])}
    return subprocess.run(
        command, env=environ, cwd=checkout.parent, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("what", ["metadata", "dashboards", "service-checks"])
def test_our_files_pass(ddev: Path, checkout: Path, what: str) -> None:
    """ddev accepts the metadata, the dashboard and the service check."""
    done = validate(ddev, checkout, what)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_planted_error_is_found(ddev: Path, checkout: Path) -> None:
    """ddev refuses an unknown unit."""
    path = checkout / "metadata.csv"
    path.write_text(path.read_text().replace(",connection,", ",connexion,", 1))
    done = validate(ddev, checkout, "metadata")
    assert done.returncode != 0
    assert "connexion" in done.stdout + done.stderr
