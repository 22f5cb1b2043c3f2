"""``top`` restores its terminal, whatever ends it."""

from __future__ import annotations

import os
import shlex
import signal
from pathlib import Path

from tests.cli.top.test_top import SMALL, terminal
from tests.conftest import ServerFactory
from tests.lab.cli_command import COMMAND, environment
from tests.lab.gunicorn_versions import Gunicorn
from tests.lab.procfs import children, is_stopped
from tests.lab.terminal import Terminal
from tests.lab.waiting import wait_for


def test_a_server_that_ends(newest: Gunicorn, serve: ServerFactory, tmp_path: Path) -> None:
    """The terminal is restored, and a line has the reason."""
    server = serve(newest).wait_until_it_serves()
    with terminal(tmp_path, SMALL, str(server.pid)) as screen:
        screen.wait_until_it_shows("2 idle, 0 working")
        server.signal(signal.SIGKILL)
        server.process.wait()
        text = screen.wait_until_it_shows(f"the server with the pid {server.pid} has ended")
        assert "q quit" not in text
        wait_for("top to end", lambda: screen.exit_code is not None)
        assert screen.exit_code == 1


def test_a_signal_that_ends_it(newest: Gunicorn, serve: ServerFactory, tmp_path: Path) -> None:
    """The terminal is restored, and the exit code is that of a program ended by the signal."""
    server = serve(newest).wait_until_it_serves()
    for number in (signal.SIGTERM, signal.SIGQUIT, signal.SIGINT, signal.SIGHUP):
        folder = tmp_path / number.name
        folder.mkdir()
        with terminal(folder, SMALL, str(server.pid)) as screen:
            screen.wait_until_it_shows("2 idle, 0 working", "q quit")
            assert not screen.is_as_it_was()
            (pid,) = children(screen.pid)
            os.kill(pid, number)
            screen.wait_until_it_shows("exit code")
            assert screen.exit_code == 128 + number
            assert screen.is_as_it_was()
            assert "Traceback" not in screen.screen()


def test_it_is_stopped_and_goes_on(newest: Gunicorn, serve: ServerFactory, tmp_path: Path) -> None:
    """Ctrl-Z restores the terminal; fg draws a new frame in the current size."""
    server = serve(newest).wait_until_it_serves()
    shell = ["bash", "--norc", "--noprofile", "-i"]
    size = {"width": SMALL[0], "height": SMALL[1]}
    environ = environment() | {"PS1": "shell> "}
    with Terminal(tmp_path, shell, **size, environ=environ) as screen:
        screen.type(shlex.join([*COMMAND, "top", str(server.pid), "--seconds", "0.2"]))
        screen.wait_until_it_shows("2 idle, 0 working", "q quit")
        for _ in range(2):
            screen.press("C-z")
            text = screen.wait_until_it_shows("Stopped", "shell>")
            assert "q quit" not in text
            check_the_shell(screen)
            screen.resize(100, 12)
            screen.type("clear; fg")
            screen.wait_until_it_shows("2 idle, 0 working", "q quit")
        server.hold(1)
        screen.wait_until_it_shows("1 idle, 1 working")
        server.let_go()
        screen.press("q")
        (pid,) = children(screen.pid)
        wait_for("top to end", lambda: not children(pid))
        check_the_shell(screen)


def check_the_shell(screen: Terminal) -> None:
    """Assert that programs of the shell read lines from an echoing terminal."""
    screen.type("stty -a | grep -wo -e -icanon -e -echo || echo as usual")
    screen.wait_until_it_shows("\nas usual")


def test_one_that_was_stopped_by_others(
    newest: Gunicorn, serve: ServerFactory, tmp_path: Path
) -> None:
    """After SIGSTOP and SIGCONT ``top`` sets the terminal up again, whatever its state."""
    server = serve(newest).wait_until_it_serves()
    with terminal(tmp_path, SMALL, str(server.pid), "--seconds", "0.2") as screen:
        screen.wait_until_it_shows("2 idle, 0 working", "q quit")
        (pid,) = children(screen.pid)
        os.kill(pid, signal.SIGSTOP)
        wait_for("top to stop", lambda: is_stopped(pid))
        screen.make_sane()
        os.kill(pid, signal.SIGCONT)
        wait_for("top to use the terminal", lambda: not screen.is_as_it_was())
        screen.wait_until_it_shows("2 idle, 0 working", "q quit")
        screen.press("q")
        wait_for("top to end", lambda: screen.exit_code == 0)
