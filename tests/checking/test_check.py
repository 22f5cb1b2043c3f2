"""``check``: a healthy place is told to be one, and each thing that is planted is found."""

from __future__ import annotations

import os
import re
import signal
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from agent import StandInAgent
from gunicorn.config import Config

from gunicorn_backlog.checking import config as of_config
from gunicorn_backlog.checking.command import DEFAULT_BACKLOG
from gunicorn_backlog.checking.config import OLDEST
from gunicorn_backlog.checking.findings import lines, warning
from tests.conftest import ServerFactory
from tests.lab.confine import as_nobody, as_pid_1, network, refusing
from tests.lab.gunicorns import Gunicorn
from tests.lab.looking import ROOT, Done, look
from tests.lab.pushes import wait_until_all_are_idle
from tests.lab.server import CONFIG, free_port
from tests.lab.waiting import wait_for

OK, WARNING, FAILED = 0, 1, 2
LEVELS = {"ok": OK, "warning": WARNING, "failed": FAILED}
TOO_OLD = "20.0.4"


def check(
    *arguments: str,
    place: tuple[str, ...] = (),
    run_by: tuple[str, ...] = (),
    environ: dict[str, str] | None = None,
) -> Done:
    """Run it at a place, where no other server is, with what gunicorn is to be told."""
    command = ("check", *(("--", *arguments, "app:app") if arguments else ()))
    return look(*command, run_by=(*place, *as_pid_1(), *run_by), environ=environ)


def found(done: Done, level: str, what: str, text: str) -> bool:
    """Tell whether there is such a line."""
    return any(
        re.match(rf"{level} +{what} +", line) and text in line for line in done.out.splitlines()
    )


@pytest.fixture
def config(tmp_path: Path) -> Callable[[str], tuple[str, ...]]:
    """Return what makes gunicorn's arguments of a config file's text."""

    def write(text: str) -> tuple[str, ...]:
        path = tmp_path / "gunicorn.conf.py"
        path.write_text(text)
        return ("--config", str(path), "--backlog", "5")

    return write


WriteConfig = Callable[[str], tuple[str, ...]]


def test_a_terminal_is_told_nothing_by_it() -> None:
    """Escape sequences in what is found, and in what helps, are blanks."""
    hostile = "\x1b[2Jx\n"
    assert lines([warning("hooks", hostile, hostile)]) == [
        "warning  hooks          [2Jx ",
        f"{'':22} ->  [2Jx ",
    ]


def test_all_is_well(config: WriteConfig, agent: StandInAgent) -> None:
    """Each line says so, and the Agent's stand-in gets a datagram without a metric in it."""
    done = check(*config(CONFIG), environ={"GUNICORN_BACKLOG_URL": agent.url})
    levels = {line.split()[0] for line in done.lines}
    assert (done.code, levels, done.err) == (OK, {"ok"}, "")
    whats = {line[9:].partition("  ")[0] for line in done.lines}
    assert whats == {
        *("platform", "TCP_INFO", "netlink", "drops", "Unix sockets", "memfd", "backlog"),
        *("versions", "hooks", "worker class", "Agent"),
    }
    assert found(done, "ok", "TCP_INFO", "one connection waits reads 1")
    assert [it.octets for it in agent.datagrams] == [b"\n"]
    assert agent.datagrams[0].lines == []


NO_NETLINK = {"warning netlink", "warning Unix sockets"}


@pytest.mark.parametrize(
    ("refused", "expected"),
    [
        ("TCP_INFO", {"warning TCP_INFO"}),
        ("netlink", NO_NETLINK),
        ("TCP_INFO,netlink", {"failed TCP_INFO", *NO_NETLINK}),
        ("SO_MEMINFO,netlink", {"warning drops", *NO_NETLINK}),
        ("memfd", {"warning memfd"}),
    ],
)
def test_what_the_kernel_refuses(refused: str, expected: set[str], agent: StandInAgent) -> None:
    """Each is found, with the errno and the remedy; all else is well."""
    run_by = refusing(*refused.split(","))
    done = check(run_by=run_by, environ={"GUNICORN_BACKLOG_URL": agent.url})
    assert done.code == (FAILED if "failed TCP_INFO" in expected else WARNING), done.out
    bad = [line for line in done.lines if line.startswith(("warning", "failed"))]
    whats = {re.sub(" +", " ", line[:22]).strip() for line in bad}
    assert whats == {*expected, "warning server"}, done.out
    assert all("EPERM" in line for line in bad if " server " not in line)
    assert done.out.count("-> allow ") == len(expected)


def test_a_clamped_backlog(newest: Gunicorn, serve: ServerFactory, agent: StandInAgent) -> None:
    """In a namespace with a small somaxconn: without a server, and of a running one."""
    with network() as net:
        net.set_somaxconn(99)
        done = check(place=net.inside(), environ={"GUNICORN_BACKLOG_URL": agent.url})
        text = "gunicorn asks for 2048, net.core.somaxconn clamps it to 99"
        assert found(done, "warning", "backlog", text), done.out
        assert "-> raise net.core.somaxconn" in done.out
        server = serve(newest, run_by=net.inside(), environ={"GUNICORN_BACKLOG_URL": agent.url})
        text = f"{server.address}: gunicorn asks for 2048, the kernel enforces 99"
        inside = ("nsenter", "--target", str(server.pid), "--net")

        def told() -> bool:
            done = look("check", str(server.pid), run_by=inside)
            return found(done, "warning", "backlog", text)

        wait_for("it to be told of the server", told)


@pytest.mark.parametrize(
    ("text", "level", "line"),
    [
        ("", "failed", "post_worker_init does not reach us: the config has none"),
        (
            "from gunicorn_backlog.hooks import when_ready, on_exit\n",
            "failed",
            "post_worker_init does not reach us: the config has none",
        ),
        (
            f"{CONFIG}def post_worker_init(worker):\n    print(worker)\n",
            "failed",
            "post_worker_init is the config's own, and does not seem to call ours",
        ),
        (
            f"{CONFIG}from gunicorn_backlog import hooks\n"
            "def post_worker_init(worker):\n    hooks.post_worker_init(worker)\n",
            "ok",
            "post_worker_init is the config's own, and names ours",
        ),
        (
            "from gunicorn_backlog.hooks import when_ready, post_worker_init\n",
            "warning",
            "on_exit does not reach us",
        ),
    ],
)
def test_hooks(text: str, level: str, line: str, config: WriteConfig) -> None:
    """Which of ours gunicorn would call."""
    read = of_config.read(config(text))
    assert not isinstance(read, str)
    findings = list(of_config.findings(read))
    of_hooks = [it.text for it in findings if it.what == "hooks" and it.level == LEVELS[level]]
    assert any(line in text for text in of_hooks)
    assert max(it.level for it in findings) == LEVELS[level]


@pytest.mark.parametrize(
    ("text", "level", "what", "line"),
    [
        ("worker_class = 'no.such'\n", "failed", "worker class", "no.such can't be loaded"),
        ("worker_class = 'asgi'\nbacklog = 300\n", "ok", "worker class", "no shares of a capacity"),
        (
            "from gunicorn_backlog import configure\nconfigure(enabled=False)\n",
            "failed",
            "settings",
            "enabled is False",
        ),
    ],
)
def test_configs(text: str, level: str, what: str, line: str, config: WriteConfig) -> None:
    """What is wrong with one is a line."""
    read = of_config.read(config(f"{CONFIG}{text}"))
    assert not isinstance(read, str)
    (told,) = [it for it in of_config.findings(read) if it.what == what]
    assert told.level == LEVELS[level]
    assert line in told.text
    assert "\n" not in told.text


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("backlog = 'many'\n", "many"),
        ("raise OSError('no disk')\n", "no disk"),
        (
            "from gunicorn_backlog import configure\nconfigure(interval=0)\n",
            "interval=0; allowed: a number of seconds from 0.1 to 60",
        ),
    ],
)
def test_a_config_that_can_not_be_read(text: str, why: str, config: WriteConfig) -> None:
    """The last line of what gunicorn, or we, say of it."""
    read = of_config.read(config(f"{CONFIG}{text}"))
    assert isinstance(read, str)
    assert why in read


def test_a_config_that_takes_for_ever(config: WriteConfig) -> None:
    """It is given up after the deadline."""
    read = of_config.read(config("import time\ntime.sleep(600)\n"), deadline_s=0.5)
    assert read == "it was not read within 0.5 s"


def test_a_config_that_starts_a_program(config: WriteConfig, tmp_path: Path) -> None:
    """One that goes on, with all that it inherits, is not waited for."""
    path = tmp_path / "pid"
    text = (
        f"{CONFIG}import os, time\n"
        "if (pid := os.fork()) == 0:\n"
        "    time.sleep(600)\n"
        "    os._exit(0)\n"
        f"print(pid, file=open({str(path)!r}, 'w'))\n"
    )
    read = of_config.read(config(text), deadline_s=30)
    os.kill(int(path.read_text()), signal.SIGKILL)
    assert not isinstance(read, str)
    assert read.backlog == 5


def test_that_it_can_not_be_read_is_told(config: WriteConfig, agent: StandInAgent) -> None:
    """As a line like others."""
    environ = {"GUNICORN_BACKLOG_URL": agent.url}
    done = check(*config("raise OSError('no disk')"), environ=environ)
    assert done.code == FAILED
    assert found(done, "failed", "config", "gunicorn can't read it: OSError: no disk"), done.out


def test_no_agent() -> None:
    """Nobody listens at the port."""
    url = f"udp://127.0.0.1:{free_port()}"
    done = check(environ={"GUNICORN_BACKLOG_URL": url})
    assert done.code == FAILED
    assert found(done, "failed", "Agent", f"{url} takes no datagram: ECONNREFUSED")
    assert "-> start the Agent, or say where it is" in done.out


def test_a_name_that_nobody_knows() -> None:
    """The resolver's own word is told."""
    done = check(environ={"DD_AGENT_HOST": "agent.invalid"})
    assert done.code == FAILED
    assert found(done, "failed", "Agent", "udp://agent.invalid:8125: ")


@pytest.fixture
def closed_socket() -> Iterator[str]:
    """An Agent's socket that others may not write to, in a folder that they may pass."""
    path = Path(tempfile.gettempdir()) / f"closed-{os.getpid()}.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(path))
        path.chmod(0o700)
        yield str(path)
    path.unlink()


def test_a_socket_without_permission(
    closed_socket: str, newest: Gunicorn, agent: StandInAgent
) -> None:
    """It is there, and may not be written to."""
    environ = {"GUNICORN_BACKLOG_URL": f"unix://{closed_socket}"}
    done = check(run_by=as_nobody(newest.folder), environ=environ)
    assert done.code == FAILED
    assert found(done, "failed", "Agent", f"unix://{closed_socket} takes no datagram: EACCES")
    assert "-> let this user write to the socket" in done.out


def test_a_socket_that_is_not_there(tmp_path: Path) -> None:
    """The folder was not mounted, say."""
    done = check(environ={"GUNICORN_BACKLOG_URL": f"unix://{tmp_path}/none"})
    assert done.code == FAILED
    assert found(done, "failed", "Agent", "ENOENT")


def test_a_gunicorn_that_is_too_old(
    installed: Callable[[str], Gunicorn], agent: StandInAgent
) -> None:
    """Its version is told, and which is needed."""
    old = installed(TOO_OLD)
    environ = old.environ(GUNICORN_BACKLOG_URL=agent.url)
    done = look("check", run_by=as_pid_1(), environ=environ)
    assert done.code == FAILED, done
    assert found(done, "failed", "versions", f"gunicorn {TOO_OLD} is too old: 20.1 is needed")


def test_the_oldest_versions_are_those_of_the_package() -> None:
    """What pip is told and what check says are the same."""
    lines = (ROOT / "pyproject.toml").read_text().splitlines()
    (line,) = [line for line in lines if line.startswith("dependencies = ")]
    needed = re.findall(r'"(.*?)"', line)
    ours = [f"{name}>={'.'.join(map(str, version))}" for name, version in OLDEST.items()]
    assert sorted(needed) == sorted(ours)


def test_the_default_backlog_is_gunicorns() -> None:
    """What is compared with somaxconn where no config is given."""
    assert Config().backlog == DEFAULT_BACKLOG


DISABLE = {"DD_DOGSTATSD_DISABLE": "true"}
NOTHING_IS_SENT = "DD_DOGSTATSD_DISABLE is set: nothing is sent"


def test_what_raw_env_says(config: WriteConfig, agent: StandInAgent) -> None:
    """gunicorn puts it into the environment: the Agent is where it says, or gets nothing."""
    hooks = f"{CONFIG}raw_env = ['GUNICORN_BACKLOG_URL={agent.url}'"
    done = check(*config(f"{hooks}]\n"), environ={"DD_AGENT_HOST": "agent.invalid"})
    assert done.code == OK, done
    assert found(done, "ok", "Agent", agent.url)
    done = check(*config(f"{hooks}, 'DD_DOGSTATSD_DISABLE=true']\n"))
    assert done.code == WARNING
    assert found(done, "warning", "Agent", NOTHING_IS_SENT), done
    done = check(*config(f"{hooks}, 'DD_DOGSTATSD_DISABLE=false']\n"), environ=DISABLE)
    assert done.code == OK, done


def test_an_agent_that_is_disabled(
    newest: Gunicorn, serve: ServerFactory, agent: StandInAgent
) -> None:
    """Whether it is says the server, by what its config made of its environment; not ours."""
    config = f"{CONFIG}raw_env = ['DD_DOGSTATSD_DISABLE=%s']\n"
    environ = {"GUNICORN_BACKLOG_URL": agent.url}
    server = serve(newest, config=config % "false", environ=environ | DISABLE)
    wait_until_all_are_idle(agent)
    done = look("check", str(server.pid), environ=DISABLE)
    assert found(done, "ok", "Agent", agent.url), done
    server.reload(config % "true")

    def told() -> bool:
        return found(look("check", str(server.pid)), "warning", "Agent", NOTHING_IS_SENT)

    wait_for("it to be disabled", told)
    assert NOTHING_IS_SENT in look("status", str(server.pid)).lines[1]


def test_neither_a_server_nor_a_config(agent: StandInAgent) -> None:
    """What can't be told is told not to be."""
    done = check(environ={"GUNICORN_BACKLOG_URL": agent.url})
    assert found(done, "warning", "server", "hooks and worker class can't be told")
    assert "-> give what gunicorn is started with: gunicorn-backlog check -- --config" in done.out


def test_a_running_server(newest: Gunicorn, serve: ServerFactory, agent: StandInAgent) -> None:
    """It is looked at: its workers, its listeners, its Agent."""
    environ = {"GUNICORN_BACKLOG_URL": agent.url}
    server = serve(newest, environ=environ, arguments=("--backlog", "5"))
    wait_until_all_are_idle(agent)
    done = look("check", str(server.pid))
    assert found(done, "ok", "server", f"lab, pid {server.pid}, gunicorn {newest.version}")
    assert found(done, "ok", "hooks", "all 2 workers report")
    assert found(done, "ok", "listener", f"{server.address}: 0 wait, the limit is 5")
    assert found(done, "ok", "Agent", agent.url)
    agent.stop()
    done = look("check", str(server.pid))
    assert done.code == FAILED
    assert found(done, "failed", "Agent", "ECONNREFUSED")
