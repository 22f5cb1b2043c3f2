"""The tornado app of the tests; one part is an application within the application."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

from tornado.routing import PathMatches, Rule
from tornado.web import Application, RequestHandler
from tornado.websocket import WebSocketHandler

from tests.lab.request_log import noted
from tests.lab.wsgi_app import LONGEST_S, PART


class Ok(RequestHandler):
    """Responds at once."""

    def get(self) -> None:
        """Respond."""
        self.write("ok")

    head = get


class Hold(RequestHandler):
    """Responds as soon as the file $RELEASE exists."""

    async def get(self) -> None:
        """Wait for the file, and respond."""
        deadline_s = time.monotonic() + LONGEST_S
        release = Path(os.environ["RELEASE"])
        with noted():
            while not release.exists() and time.monotonic() < deadline_s:
                await asyncio.sleep(0.01)
        self.write(str(os.getpid()))


class Stream(RequestHandler):
    """Responds in parts."""

    async def get(self) -> None:
        """Flush each part."""
        for _ in range(2):
            self.write(PART)
            await self.flush()


class Fail(RequestHandler):
    """Raises an error."""

    async def get(self) -> None:
        """Raise before the response."""
        raise RuntimeError("as asked")


class Echo(WebSocketHandler):
    """Sends every message back."""

    def open(self) -> None:
        """Log the begin of the websocket."""
        self._noted = noted()
        self._noted.__enter__()

    async def on_message(self, message: str | bytes) -> None:
        """Send the message back."""
        await self.write_message(message)

    def on_close(self) -> None:
        """Log the end of the websocket."""
        self._noted.__exit__(None, None, None)


within = Application([(r"/within/hold", Hold)])
app = Application(
    [
        (r"/", Ok),
        (r"/hold", Hold),
        (r"/stream", Stream),
        (r"/fail", Fail),
        (r"/plain", Echo),
        (r"/websocket", Echo),
        Rule(PathMatches(r"/within/.*"), within),
    ]
)
