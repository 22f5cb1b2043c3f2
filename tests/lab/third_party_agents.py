"""Third-party DogStatsD servers: Datadog's own and netdata's."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.lab.ports import free_port
from tests.lab.process_group import Group

_PREPARE = """
set -e
ip link set lo up
mount -t tmpfs none /home
mkdir -p /home/site/wwwroot
echo '{}' > /home/site/wwwroot/host.json
exec "$0"
"""
# The server starts only on the serverless platforms that it is made for.
_AZURE = {
    "FUNCTIONS_EXTENSION_VERSION": "4",
    "FUNCTIONS_WORKER_RUNTIME": "python",
    "WEBSITE_SITE_NAME": "lab",
    "WEBSITE_SKU": "Dynamic",
    "DD_ENHANCED_METRICS_ENABLED": "false",
    "DD_SITE": "localhost:9443",
    "DD_API_KEY": "0" * 32,
    "DD_DOGSTATSD_PORT": "8125",
    "DD_LOG_LEVEL": "trace",
}
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class DatadogServer:
    """Datadog's own DogStatsD server, in a network namespace of its own, at its port 8125."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self._process = process
        self._log = log

    @property
    def log(self) -> str:
        """The log at level trace: each packet, parse error and flush."""
        return _COLOUR.sub("", self._log.read_text(errors="replace"))

    def inside(self, *command: str) -> tuple[str, ...]:
        """Return a command line that runs the command in its network namespace."""
        return ("nsenter", "--target", str(self._process.pid), "--net", *command)


@contextmanager
def datadog_server(folder: Path) -> Iterator[DatadogServer]:
    """Run Datadog's DogStatsD server, or skip the test."""
    binary = folder / "datadog-serverless-compat"
    shutil.copy(_datadog_binary(), binary)
    binary.chmod(0o755)
    if subprocess.run(["unshare", "-n", "-m", "true"], check=False).returncode != 0:
        pytest.skip("no privilege to make a network namespace (unshare -n -m)")
    log = folder / "datadog.log"
    with log.open("wb") as output:
        process = Group(
            ["unshare", "-n", "-m", "sh", "-c", _PREPARE, str(binary)],
            env={"PATH": os.environ["PATH"], **_AZURE},
            stdout=output,
            stderr=output,
        )
    with process:
        yield DatadogServer(process, log)


def _datadog_binary() -> Path:
    spec = importlib.util.find_spec("datadog_serverless_compat")
    if spec is None or spec.origin is None:
        pytest.skip("datadog-serverless-compat is not installed")
    binary = Path(spec.origin).parent / "bin" / "linux-amd64" / "datadog-serverless-compat"
    if os.uname().machine != "x86_64" or not binary.exists():
        pytest.skip(f"datadog-serverless-compat has no binary for {os.uname().machine}")
    return binary


_NETDATA = """
[global]
  run as user = {user}
[directories]
  cache = {folder}
  lib = {folder}
  log = {folder}
[db]
  mode = ram
[health]
  enabled = no
[ml]
  enabled = no
[registry]
  enabled = no
[web]
  bind to = 127.0.0.1:{web}
[plugins]
  proc = no
  diskspace = no
  cgroups = no
  tc = no
  idlejitter = no
  apps = no
  checks = no
  timex = no
  enable running new plugins = no
[statsd]
  bind to = udp:127.0.0.1:{statsd}
  create private charts for metrics matching = *
"""


class Netdata:
    """netdata's statsd server, at ``url``."""

    def __init__(self, web: int, statsd: int) -> None:
        self._web = web
        self.url = f"udp://127.0.0.1:{statsd}"

    def latest(self, chart: str) -> dict[str, float]:
        """Return a chart's latest row by dimension; empty before the chart exists."""
        with suppress(OSError):
            answer = self._get(f"data?chart={chart}&after=-2&points=1")
            return dict(zip(answer["labels"], answer["data"][0], strict=True))
        return {}

    def _get(self, path: str) -> Any:
        url = f"http://127.0.0.1:{self._web}/api/v1/{path}"
        with urllib.request.urlopen(url, timeout=5) as answer:
            return json.load(answer)


@contextmanager
def netdata(folder: Path) -> Iterator[Netdata]:
    """Run netdata with its statsd plugin only, or skip the test."""
    program = shutil.which("netdata", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        pytest.skip("netdata is not installed (Debian: netdata-core, netdata-plugins-bash)")
    web, statsd = free_port(socket.SOCK_STREAM), free_port(socket.SOCK_DGRAM)
    user = "root" if os.geteuid() == 0 else os.environ.get("USER", "nobody")
    config = folder / "netdata.conf"
    config.write_text(_NETDATA.format(user=user, folder=folder, web=web, statsd=statsd))
    with (folder / "netdata.log").open("wb") as output:
        process = Group([program, "-D", "-c", str(config)], stdout=output, stderr=output)
    with process:
        yield Netdata(web, statsd)
