"""A real nginx before a server under test."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.lab.ports import free_port
from tests.lab.process_group import Group
from tests.lab.waiting import wait_for

SITE = Path(__file__).parents[2] / "examples" / "nginx.conf"
FRAME = """
daemon off;
{user}
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    {site}
}}
"""


@contextmanager
def nginx(folder: Path, upstream: str) -> Iterator[int]:
    """Run the example's site before that upstream, and yield nginx's port.

    :param upstream: ``127.0.0.1:8000`` or ``unix:/run/app.sock``, as in the example.
    """
    command = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if command is None:
        pytest.skip("nginx is not installed (Debian: nginx-light)")
    port = free_port()
    example = SITE.read_text().replace("listen 80;", f"listen 127.0.0.1:{port};")
    if upstream.startswith("unix:"):
        site = example.replace("server unix:/run/app.sock", f"server {upstream}")
        site = site.replace("proxy_pass http://app_tcp;", "proxy_pass http://app_unix;")
    else:
        site = example.replace("server 127.0.0.1:8000", f"server {upstream}")
    config = folder / "nginx.conf"
    user = "user root;" if os.geteuid() == 0 else ""  # without privileges nginx keeps the user
    config.write_text(FRAME.format(folder=folder, site=site, user=user))
    with Group([command, "-c", str(config)]):
        wait_for("nginx to listen", lambda: _listens(port))
        yield port


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except ConnectionRefusedError:
        return False
    return True
