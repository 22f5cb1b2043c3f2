"""The Agent's name, looked up where nothing waits for it."""

from __future__ import annotations

import codecs
import errno
import time
from collections.abc import Callable
from contextlib import suppress

from gunicorn_backlog._threads.one_shot import OneShotThread
from gunicorn_backlog._threads.unpatched import original
from gunicorn_backlog.config.agent_address import Address, is_local
from gunicorn_backlog.dogstatsd import agent_socket
from gunicorn_backlog.dogstatsd.agent_socket import Target

REFRESH_S = 60.0  # the name may come to mean another address without any send failing
RETRY_S = 0.9  # while the Agent is away: with each push of the default interval, early ones too
FORK_WAIT_S = 0.01  # that a fork waits for a look-up at the least, after it waited for our thread


class Resolver:
    """Knows where an address leads to now.

    A name is looked up in a thread that ends with the look-up: a resolver may hang for as long as
    it likes. ``target`` is the latest answer, kept while there is no newer one; ``error`` says why
    the latest look-up failed.

    The C library takes locks when a look-up begins, and when its thread ends. A fork copies them:
    the first look-up of a worker that was born at such a moment would hang for ever.
    """

    def __init__(self, address: Address, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.target: Target | None = None
        self.error: OSError | None = None
        self._address = address
        self._clock = clock
        self._asked_s: float | None = None
        self._thread: OneShotThread | None = None  # of the latest look-up
        self._hangs = False

    def refresh(self, *, away: bool) -> None:
        """Look the name up again if it is time to; ``away``: the Agent does not answer there."""
        now_s = self._clock()
        wait_s = RETRY_S if away or self.target is None else REFRESH_S
        if self._asked_s is not None and now_s - self._asked_s < wait_s:
            return
        if self._thread is not None and not self._thread.returned:
            return
        self._asked_s = now_s
        if self.can_turn:
            return  # it is known, and which of the two it is shows with each push
        if is_local(self._address):
            self._look_up()
        else:
            # The thread's first use would import it, and a fork amid that leaves it half imported.
            codecs.lookup("idna")
            _read_configuration()
            self._look_up_apart()

    @property
    def can_turn(self) -> bool:
        """Whether the address is localhost, which has another address than the target."""
        return self._other() is not None

    def turn(self) -> bool:
        """Lead to localhost's other address from now on; tell whether it has one."""
        other = self._other()
        self.target = other or self.target
        return other is not None

    def _other(self) -> Target | None:
        return self.target and agent_socket.other_loopback(self._address, self.target)

    def before_fork(self, until_s: float) -> None:
        """Let the look-up end that is under way, until ``until_s`` of the monotonic clock.

        Of one that hangs no fork but the first waits. Most take far less than a millisecond, but on
        a busy machine their thread may have to wait for a processor.
        """
        if self._thread is not None and not self._hangs:
            self._hangs = not self._thread.wait(max(FORK_WAIT_S, until_s - time.monotonic()))

    def _look_up_apart(self) -> None:
        """Start a thread; it inherits the mask of ours, who calls this, and so takes no signals."""
        try:
            self._thread, self._hangs = OneShotThread(self._look_up), False
        except RuntimeError:
            self.error = OSError(errno.EBUSY, "no thread to look its name up in")

    def _look_up(self) -> None:
        try:
            self.target = agent_socket.resolve(self._address)
            self.error = None
        except OSError as error:
            self.error = error
        except Exception as error:  # of a function that an app put into that one's place
            self.error = OSError(errno.EINVAL, f"{type(error).__name__}: {error}")


def _read_configuration() -> None:
    """Have the C library read /etc/resolv.conf, if it is new: it asks nobody for a number.

    It holds a lock meanwhile, which the look-up then need not take for as long: here, inside the
    fork gate, no fork copies it, however slow the file or the machine is.
    """
    with suppress(OSError):
        original("socket", "gethostbyname_ex")("127.0.0.1")
