"""A user's worker class that is not known."""

from __future__ import annotations

import time

from gunicorn.workers.base import Worker

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"


class StrangeWorker(Worker):  # type: ignore[misc]  # gunicorn has no types
    """A worker without any method that we wrap."""

    def run(self) -> None:
        """Accept and respond until the worker is stopped."""
        for sock in self.sockets:
            sock.setblocking(False)
        while self.alive:
            self.notify()
            for sock in self.sockets:
                try:
                    client, _ = sock.accept()
                except BlockingIOError:
                    continue
                with client:
                    client.sendall(ANSWER)
            time.sleep(0.01)
