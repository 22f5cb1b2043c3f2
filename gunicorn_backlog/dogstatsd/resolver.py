"""Look-ups of the Agent's name in threads: no push waits for a name server."""

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

REFRESH_S = 60.0  # a name can get another address without a failed send
RETRY_S = 0.9  # while the Agent is unreachable: at each push of the default interval, with jitter
FORK_WAIT_S = 0.01  # shortest deadline of a fork's wait for a look-up
BUSY_WAIT_S = 1.0  # longest further wait, for a look-up that waits for a processor


class Resolver:
    """Resolves an address to its current target.

    ``target``: the latest target, None before the first. ``error``: of the latest look-up. A name
    server may hang: each look-up of a name has a thread of its own.

    The C library holds locks at the beginning of a look-up and at the end of its thread. A fork
    copies held locks: the first look-up of a worker forked at this moment would hang forever.
    """

    def __init__(self, address: Address, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.target: Target | None = None
        self.error: OSError | None = None
        self._address = address
        self._clock = clock
        self._asked_s: float | None = None
        self._thread: OneShotThread | None = None  # of the latest look-up
        self._hangs = False

    def refresh(self, *, unreachable: bool) -> None:
        """Begin a look-up if one is due. Never waits.

        :param unreachable: the Agent does not accept pushes at the target.
        """
        now_s = self._clock()
        period_s = RETRY_S if unreachable or self.target is None else REFRESH_S
        if self._asked_s is not None and now_s - self._asked_s < period_s:
            return
        if self._thread is not None and not self._thread.returned:
            return
        self._asked_s = now_s
        if self.is_loopback:
            return  # ``switch_loopback`` selects the target from now on
        if is_local(self._address):
            self._look_up()
        else:
            # Import the codec here: during an import in the thread a fork would copy half a module.
            codecs.lookup("idna")
            _read_configuration()
            self._start_look_up()

    @property
    def is_loopback(self) -> bool:
        """True if the target is one of localhost's two addresses."""
        return self._other_loopback() is not None

    def switch_loopback(self) -> bool:
        """Switch the target to localhost's other address; return whether there is one."""
        other = self._other_loopback()
        self.target = other or self.target
        return other is not None

    def _other_loopback(self) -> Target | None:
        return self.target and agent_socket.other_loopback(self._address, self.target)

    def wait_for_look_up(self, until_s: float) -> None:
        """Wait for the end of a look-up, until ``until_s`` and at least FORK_WAIT_S.

        Only the first fork waits for a hung look-up, which sleeps until a name server answers, and
        holds no lock of the C library. Most look-ups take far less than a millisecond, but on a
        busy machine their thread may have to wait for a processor: then the fork waits longer.

        :param until_s: deadline by ``time.monotonic()``.
        """
        thread = self._thread
        if thread is None:
            return
        if self._hangs or not thread.wait(max(FORK_WAIT_S, until_s - time.monotonic())):
            self._hangs = True
            thread.wait_until_asleep(BUSY_WAIT_S)

    def _start_look_up(self) -> None:
        """Start a thread. It inherits the caller's signal mask, and thus receives no signals."""
        try:
            self._thread, self._hangs = OneShotThread(self._look_up), False
        except RuntimeError:
            self.error = OSError(errno.EBUSY, "no thread for the look-up of the name")

    def _look_up(self) -> None:
        try:
            self.target = agent_socket.resolve(self._address)
            self.error = None
        except OSError as error:
            self.error = error
        except Exception as error:  # an app may have replaced ``getaddrinfo``
            self.error = OSError(errno.EINVAL, f"{type(error).__name__}: {error}")


def _read_configuration() -> None:
    """Make the C library read a changed /etc/resolv.conf; a numeric host needs no name server.

    The C library locks its configuration during this read. The caller is inside the fork gate: no
    fork copies this lock, and the following look-up holds the lock for a shorter time.
    """
    with suppress(OSError):
        original("socket", "gethostbyname_ex")("127.0.0.1")
