"""Warning of pods that push the same series over UDP."""

from __future__ import annotations

import pytest
from agent import StandInAgent

from tests.conftest import ServerFactory
from tests.lab.gunicorn_versions import Gunicorn
from tests.lab.pushes import next_pushes

IN_KUBERNETES = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "DD_ORIGIN_DETECTION_ENABLED": "false"}
ENVIRONMENTS: dict[str, tuple[dict[str, str], int]] = {
    "nothing": (IN_KUBERNETES, 1),
    "not Kubernetes": ({"DD_ORIGIN_DETECTION_ENABLED": "false"}, 0),
    "DD_ENTITY_ID": ({**IN_KUBERNETES, "DD_ENTITY_ID": "0a1b"}, 0),
    "DD_EXTERNAL_ENV": ({**IN_KUBERNETES, "DD_EXTERNAL_ENV": "it-false,cn-app,pu-0a1b"}, 0),
    "a tag": ({**IN_KUBERNETES, "DD_TAGS": "pod_name:web-1"}, 0),
    "another tag": ({**IN_KUBERNETES, "DD_TAGS": "team:web"}, 1),
}


@pytest.mark.parametrize("case", ENVIRONMENTS)
def test_series_that_may_collide(
    case: str, newest: Gunicorn, serve: ServerFactory, agent: StandInAgent
) -> None:
    """One warning has the remedy; with a tag or field of the pod there is none."""
    environ, lines = ENVIRONMENTS[case]
    own = {"GUNICORN_BACKLOG_URL": agent.url, "GUNICORN_BACKLOG_INTERVAL": "0.1"}
    server = serve(newest, workers=1, environ=environ | own).wait_until_it_serves()
    next_pushes(agent, 2)

    assert len(server.our_lines) == lines, server.log
    assert all("set DD_ENTITY_ID, add a tag pod_name or host" in line for line in server.our_lines)
