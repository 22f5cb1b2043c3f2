"""proc_net: the kernel's list of Unix sockets, step by step beside ``ss``, and odd lists."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gunicorn_backlog.kernel import proc_net
from gunicorn_backlog.kernel.accept_queue import ElsewhereError, QueueError
from gunicorn_backlog.kernel.proc_net import count_waiting, unix_length
from tests.lab.ss import ss_unix

HEADER = b"Num       RefCount Protocol Flags    Type St Inode Path\n"


@contextmanager
def listening(path: str) -> Iterator[socket.socket]:
    """Listen at a path."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(path)
        sock.listen(5)
        yield sock


def inode(sock: socket.socket) -> int:
    """Return the socket's inode."""
    return os.fstat(sock.fileno()).st_ino


@pytest.mark.parametrize("name", ["app.sock", "two words.sock", " first", "ümlaut", "@at"])
def test_step_by_step(name: str, tmp_path: Path) -> None:
    """Listen: 0; connect: 1; connect: 2; accept: 1; a client that left counts as in the kernel."""
    path = str(tmp_path / name)
    with listening(path) as sock, ExitStack() as clients:
        assert unix_length(inode(sock)) == 0
        for waiting in (1, 2):
            clients.enter_context(socket.socket(socket.AF_UNIX)).connect(path)
            assert unix_length(inode(sock)) == waiting
        accepted, _ = sock.accept()
        with accepted:
            assert unix_length(inode(sock)) == 1
            clients.close()
            assert unix_length(inode(sock)) == 1
            if " " not in name:
                assert [listed.recv_q for listed in ss_unix(path)] == [1]


@pytest.mark.parametrize("name", ["lab", "lab\0and more", "lab and more"])
def test_an_abstract_name(name: str) -> None:
    """The list has @ for NUL; waiting connections are counted."""
    path = f"\0{name}{os.getpid()}"
    with listening(path) as sock, socket.socket(socket.AF_UNIX) as client:
        assert unix_length(inode(sock)) == 0
        client.connect(path)
        assert unix_length(inode(sock)) == 1


def test_two_listeners_at_one_path(tmp_path: Path) -> None:
    """After a path was unlinked and bound again, a connection's listener can't be determined."""
    path = tmp_path / "app.sock"
    with listening(str(path)) as former, socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        path.unlink()
        with listening(str(path)) as sock:
            for each in (former, sock):
                with pytest.raises(QueueError, match="2 sockets listen at this path"):
                    unix_length(inode(each))
        assert unix_length(inode(former)) == 1


def test_a_newline_in_the_path(tmp_path: Path) -> None:
    """A path with a newline raises QueueError; another listener's such path does not."""
    one, other = (str(tmp_path / name) for name in ("app.sock", "app\nsock"))
    with listening(one) as sock, listening(other) as odd:
        with pytest.raises(QueueError, match="a newline in its path"):
            unix_length(inode(odd))
        assert unix_length(inode(sock)) == 0


def test_a_path_that_ends_as_another(tmp_path: Path) -> None:
    """Only whole paths are compared."""
    path, longer = "app.sock", "other app.sock"
    former = Path.cwd()
    os.chdir(tmp_path)
    try:
        with listening(path) as sock, listening(longer) as other, ExitStack() as clients:
            for _ in range(2):
                clients.enter_context(socket.socket(socket.AF_UNIX)).connect(longer)
            assert unix_length(inode(sock)) == 0
            assert unix_length(inode(other)) == 2
    finally:
        os.chdir(former)


def test_a_socket_that_does_not_listen_is_not_found(tmp_path: Path) -> None:
    """A bound socket that does not listen, and an unknown inode, raise ElsewhereError."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(tmp_path / "app.sock"))
        for number in (inode(sock), 1):
            with pytest.raises(ElsewhereError):
                unix_length(number)


def test_a_list_that_is_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading stops at the limit, with QueueError; the limit is patched."""
    monkeypatch.setattr(proc_net, "LONGEST", 40)
    with (
        listening(str(tmp_path / "app.sock")) as sock,
        pytest.raises(QueueError, match="longer than 40 bytes"),
    ):
        unix_length(inode(sock))


def line(num: bytes, flags: bytes, state: bytes, inode: int, path: bytes = b"/run/app") -> bytes:
    """Return a line as the kernel prints it."""
    return b"%s: 00000002 00000000 %s 0001 %s %5d %s\n" % (num, flags, state, inode, path)


LISTENS = line(b"00000000907e0f12", b"00010000", b"01", 97705)


def test_one_that_is_listed_twice_counts_once() -> None:
    """While sockets come and go, the kernel may list one twice, with the same address."""
    one = line(b"000000005ea4766d", b"00000000", b"02", 0)
    assert count_waiting(HEADER + LISTENS + one + one + LISTENS, 97705) == 1


def test_hidden_addresses() -> None:
    """With kernel.kptr_restrict all addresses are zeros, and each line counts."""
    one = line(b"0000000000000000", b"00000000", b"02", 0)
    assert count_waiting(HEADER + LISTENS + one + one, 97705) == 2


def test_other_states_do_not_wait() -> None:
    """Accepted connections have the path, too, and are not counted."""
    accepted = line(b"000000005ea4766d", b"00000000", b"03", 97715)
    assert count_waiting(HEADER + LISTENS + accepted, 97705) == 0


@given(st.binary(max_size=300), st.booleans())
def test_any_bytes_are_decoded_or_refused(octets: bytes, with_a_header: bool) -> None:
    """Any bytes are decoded, or raise QueueError."""
    try:
        assert count_waiting(HEADER * with_a_header + octets, 97705) >= 0
    except QueueError:
        return


def test_our_own_list_is_read_by_pid(tmp_path: Path) -> None:
    """With a pid, the list of the process's network namespace is read."""
    with listening(str(tmp_path / "app.sock")) as sock:
        assert proc_net.unix_length(inode(sock), os.getpid()) == 0
