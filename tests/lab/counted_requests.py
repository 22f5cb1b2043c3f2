"""The number of requests that ``gunicorn-backlog status`` reports, and clients to count."""

from __future__ import annotations

import socket
from http.client import HTTPConnection

from tests.lab.cli_in_process import workers_of
from tests.lab.server import Server
from tests.lab.waiting import wait_for


def wait_for_requests(server: Server, requests: int) -> None:
    """Wait until all workers together have that number; fail if the final number differs."""
    wait_for(f"{requests} requests", lambda: (requests_of(server) or 0) >= requests)
    assert requests_of(server) == requests


def requests_of(server: Server) -> int | None:
    """Return the requests of all workers; None before all have a slot."""
    workers = workers_of(server.pid)
    counted = [worker["requests"] for worker in workers or []]
    return sum(counted) if counted and None not in counted else None


def connect_without_a_request(server: Server, octets: bytes = b"") -> None:
    """Connect, send, and close after the server has closed or if nothing was sent."""
    with server.connect() as client:
        client.sendall(octets)
        client.shutdown(socket.SHUT_WR)
        while client.recv(65536):
            pass


def request_on_one_connection(server: Server, requests: int) -> None:
    """Send so many requests, on one connection for as long as the server keeps it."""
    client = HTTPConnection("127.0.0.1", server.port, timeout=30)
    for _ in range(requests):
        client.request("GET", "/")
        answer = client.getresponse()
        assert answer.status == 200
        answer.read()
    client.close()
