"""A process whose descendants end with its context."""

from __future__ import annotations

import os
import signal
import subprocess
from types import TracebackType
from typing import Any

from tests.lab import keeper

SIGNAL_PROCESS_GROUP = 4  # PIDFD_SIGNAL_PROCESS_GROUP of linux/pidfd.h, since Linux 6.9


class Group(subprocess.Popen[bytes]):
    """A process in a session of its own; leaving the context kills the group and waits, once.

    The group is signalled through a descriptor. After its first process was reaped, the number may
    belong to another group, while other processes of this one still run. Kernels before 6.9 can't
    signal a group by descriptor: there the group is killed if its first process was not reaped.
    """

    def __init__(self, command: list[str], **how: Any) -> None:
        super().__init__(command, start_new_session=True, **how)
        keeper.keep(self.pid)
        self._descriptor = os.pidfd_open(self.pid)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._descriptor >= 0:
            self._kill_all()
            os.close(self._descriptor)
            self._descriptor = -1
            keeper.release(self.pid)  # before the number may belong to another group
        super().__exit__(kind, value, traceback)  # waits

    def _kill_all(self) -> None:
        try:
            signal.pidfd_send_signal(self._descriptor, signal.SIGKILL, None, SIGNAL_PROCESS_GROUP)
        except ProcessLookupError:
            pass  # no process is left
        except OSError:
            if self.poll() is None:
                os.killpg(self.pid, signal.SIGKILL)
