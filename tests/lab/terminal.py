"""A real terminal of a given size: a program in tmux, its screen, and its keys."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import termios
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

import pytest

from tests.lab.waiting import wait_for

_CONFIG = "set -g status off\nset -g default-terminal tmux-256color\n"
# tmux may lose the last line or the exit code of an ended program: the shell stays.
_STAYING = '"$@"; echo "exit code $?"; exec sleep 1000'
_EXIT_CODE = re.compile(r"^exit code (\d+)$", re.MULTILINE)


class Terminal:
    """A program in a tmux session of its own, which is closed at the end."""

    def __init__(
        self,
        folder: Path,
        command: Sequence[str],
        *,
        width: int,
        height: int,
        environ: Mapping[str, str],
    ) -> None:
        if shutil.which("tmux") is None:
            pytest.skip("tmux is not installed (Debian: tmux)")
        config = folder / "tmux.conf"
        config.write_text(_CONFIG)
        self._tmux = ["tmux", "-u", "-S", str(folder / "tmux.sock"), "-f", str(config)]
        size = ["-x", str(width), "-y", str(height)]
        self._command = ["new-session", "-d", *size, "sh", "-c", _STAYING, "sh", *command]
        self._environ = dict(environ) | {"LC_ALL": "C.UTF-8"}

    def __enter__(self) -> Terminal:
        subprocess.run([*self._tmux, *self._command], env=self._environ, check=True)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        subprocess.run([*self._tmux, "kill-server"], check=False)

    def screen(self, *, colours: bool = False) -> str:
        """Return the screen's text, with or without escape sequences."""
        how = ["-e"] if colours else []
        return self._ask("capture-pane", "-p", *how)

    @property
    def pid(self) -> int:
        """The pid of the shell that runs the program."""
        return int(self._ask("display-message", "-p", "#{pane_pid}"))

    def is_as_it_was(self) -> bool:
        """Return whether the main screen, the cursor, line mode and echo are on."""
        shows = self._ask("display-message", "-p", "#{alternate_on} #{cursor_flag}").split()
        with self._opened() as fd:
            modes = termios.tcgetattr(fd)[3]
        return bool(modes & termios.ECHO and modes & termios.ICANON) and shows == ["0", "1"]

    def make_sane(self) -> None:
        """Reset the terminal from outside, as ``reset`` does."""
        with self._opened() as fd:
            subprocess.run(["stty", "sane"], stdin=fd, check=True)
            os.write(fd, b"\x1b[?1049l\x1b[?25h")
        wait_for("the terminal to be restored", self.is_as_it_was)

    @contextmanager
    def _opened(self) -> Iterator[int]:
        path = self._ask("display-message", "-p", "#{pane_tty}").strip()
        fd = os.open(path, os.O_RDWR | os.O_NOCTTY)
        try:
            yield fd
        finally:
            os.close(fd)

    def press(self, key: str) -> None:
        """Press a key."""
        self._ask("send-keys", key)

    def type(self, line: str) -> None:
        """Type a line."""
        self._ask("send-keys", "-l", line)
        self.press("Enter")

    def resize(self, width: int, height: int) -> None:
        """Resize the window."""
        self._ask("resize-window", "-x", str(width), "-y", str(height))

    def wait_until_it_shows(self, *texts: str) -> str:
        """Return the first screen with all of the texts."""
        latest = ""

        def shown() -> bool:
            nonlocal latest
            latest = self.screen()
            return all(text in latest for text in texts)

        try:
            wait_for(f"{texts} on the screen", shown)
        except AssertionError as error:
            raise AssertionError(f"{error}:\n{latest}") from None
        return latest

    @property
    def exit_code(self) -> int | None:
        """The program's exit code; None while the program runs."""
        said = _EXIT_CODE.search(self.screen())
        return int(said[1]) if said else None

    def _ask(self, *command: str) -> str:
        done = [*self._tmux, *command]
        return subprocess.run(done, capture_output=True, text=True, check=True).stdout
