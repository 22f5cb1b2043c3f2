"""``check``: findings about gunicorn's config."""

from __future__ import annotations

import os
import py_compile
import signal
import sys
from pathlib import Path

import pytest
from agent import StandInAgent

from gunicorn_backlog.cli.check import config as of_config
from gunicorn_backlog.cli.check.config import GunicornConfig
from gunicorn_backlog.config.agent_address import DISABLED
from gunicorn_backlog.scoreboard.kind import Kind
from tests.lab.check_command import FAILED, LEVELS, OK, WARNING, WriteConfig, check, has_finding
from tests.lab.config_reader import ConfigReader
from tests.lab.procfs import is_alive
from tests.lab.server import CONFIG
from tests.lab.waiting import wait_for


@pytest.mark.parametrize(
    ("text", "level", "line"),
    [
        ("", "failed", "post_worker_init is missing: the config has none"),
        (
            "from gunicorn_backlog.hooks import when_ready, on_exit\n",
            "failed",
            "post_worker_init is missing: the config has none",
        ),
        (
            f"{CONFIG}def post_worker_init(worker):\n    print(worker)\n",
            "failed",
            "post_worker_init is bound again (line 2), after line 1 binds ours: ours never runs",
        ),
        (
            f"def post_worker_init(worker):\n    print(worker)\n{CONFIG}",
            "failed",
            "post_worker_init of the config (line 1) is replaced by the import of ours in line 3",
        ),
        (
            f"import os\nif os:\n    def post_worker_init(worker):\n        pass\n{CONFIG}",
            "warning",
            "post_worker_init of the config (line 3), if that line is run, is replaced by the "
            "import of ours in line 5",
        ),
        (
            f"{CONFIG}post_worker_init = 'gunicorn_backlog.hooks.post_worker_init'\n",
            "ok",
            "post_worker_init is ours",
        ),
        (
            f"{CONFIG}from gunicorn_backlog import hooks\n"
            "post_worker_init = getattr(hooks, 'post_worker_init')\n",
            "ok",
            "post_worker_init is ours",
        ),
        (
            f"{CONFIG}from gunicorn_backlog import hooks\n"
            "post_worker_init, other = hooks.post_worker_init, 1\n",
            "ok",
            "post_worker_init is ours",
        ),
        (
            f"try:\n    {CONFIG}except ImportError:\n    def post_worker_init(worker):\n"
            "        pass\n",
            "ok",
            "post_worker_init is ours",
        ),
        (
            "from gunicorn_backlog.hooks import when_ready, on_exit\n"
            "def post_worker_init(worker):\n    print(worker)\n",
            "failed",
            "post_worker_init is the config's own (line 2), and does not call ours",
        ),
        (
            f"{CONFIG}from gunicorn_backlog import hooks\n"
            "def post_worker_init(worker):\n    hooks.post_worker_init(worker)\n",
            "ok",
            "post_worker_init is the config's own (line 3), and calls ours",
        ),
        (
            f"{CONFIG}class Own:\n    def __call__(self, worker):\n        print(worker)\n"
            "post_worker_init = Own()\n",
            "warning",
            "post_worker_init is the config's own (line 5); whether it calls ours is unknown",
        ),
        (
            f"{CONFIG}class Own:\n    def __getattr__(self, name):\n"
            "        raise OSError(name) if 'backlog' in name else AttributeError(name)\n"
            "    def __call__(self, worker):\n        pass\npost_worker_init = Own()\n",
            "warning",
            "post_worker_init is the config's own; whether it calls ours is unknown",
        ),
        (
            f"{CONFIG}globals()['post_worker_init'] = lambda worker: None\n",
            "warning",
            "post_worker_init is the config's own; whether it calls ours is unknown",
        ),
        (
            f"{CONFIG}import os\nif os:\n    def post_worker_init(worker):\n"
            "        hooks = __import__('gunicorn_backlog').hooks\nelse:\n"
            "    def post_worker_init(worker):\n        pass\n",
            "warning",
            "post_worker_init is the config's own; whether it calls ours is unknown",
        ),
        (
            "from gunicorn_backlog.hooks import when_ready, post_worker_init\n",
            "warning",
            "on_exit is missing",
        ),
    ],
)
def test_hooks(text: str, level: str, line: str, config: WriteConfig, reader: ConfigReader) -> None:
    """The findings list which of our hooks gunicorn would call."""
    read = reader.read(config(text))
    findings = read.findings
    of_hooks = [
        finding.text
        for finding in findings
        if finding.what == "hooks" and finding.level == LEVELS[level]
    ]
    assert any(line in text for text in of_hooks)
    assert max(finding.level for finding in findings) == LEVELS[level]


INSTALL = "from gunicorn_backlog import hooks\nhooks.install(globals())\n"
OWN = "def post_worker_init(worker):\n    pass\n"


def of_hooks(read: GunicornConfig | str) -> list[str]:
    """Return the texts of findings about ``post_worker_init`` and unreadable sources."""
    assert not isinstance(read, str), read
    texts = [finding.text for finding in read.findings if finding.what == "hooks"]
    return [text for text in texts if not text.startswith(("when_ready", "on_exit"))]


def test_install(config: WriteConfig, reader: ConfigReader) -> None:
    """install() keeps an earlier hook, unless a later statement binds that name again."""
    kept = "post_worker_init is the config's own and ours: hooks.install() keeps both"
    assert of_hooks(reader.read(config(f"{OWN}{INSTALL}"))) == [kept]
    assert of_hooks(reader.read(config(INSTALL))) == ["post_worker_init is ours"]
    again = "post_worker_init is bound again (line 3), after line 2 binds ours: ours never runs"
    assert of_hooks(reader.read(config(f"{INSTALL}{OWN}"))) == [again]
    lost = "post_worker_init of the config (line 1) is replaced by the import of ours in line 3"
    assert of_hooks(reader.read(config(f"{OWN}{CONFIG}{INSTALL}"))) == [lost]


@pytest.mark.parametrize("added", ["hooks.install({})", "vars(hooks)"])
def test_ours_without_a_statement_that_binds_it(
    added: str, config: WriteConfig, reader: ConfigReader
) -> None:
    """If the source binds only the config's own hook, ours may have replaced that hook."""
    update = f"from gunicorn_backlog import hooks\nglobals().update({added})\n"
    hidden = (
        "post_worker_init is ours, and may replace the config's own (line {}): the source does not "
        "show where ours is bound"
    )
    assert of_hooks(reader.read(config(f"{OWN}{update}"))) == [hidden.format(1)]
    assert of_hooks(reader.read(config(f"{CONFIG}{OWN}{update}"))) == [hidden.format(2)]
    assert of_hooks(reader.read(config(update))) == ["post_worker_init is ours"]


@pytest.mark.parametrize(
    "text",
    [
        f"{CONFIG}if not __name__:\n    def post_worker_init(worker):\n        pass\n",
        f"if not __name__:\n    def post_worker_init(worker):\n        pass\n{INSTALL}",
        f"import functools\n{CONFIG}post_worker_init = functools.reduce(max, [post_worker_init])\n",
    ],
)
def test_an_own_hook_that_is_not_bound(
    text: str, config: WriteConfig, reader: ConfigReader
) -> None:
    """An own hook is not reported as replaced if its statement never runs or binds our hook."""
    assert of_hooks(reader.read(config(text))) == ["post_worker_init is ours"]


def test_a_config_of_several_files(
    config: WriteConfig, reader: ConfigReader, tmp_path: Path
) -> None:
    """A name that the config imports is a hook if the other file binds a hook."""

    def found(text: str) -> list[str]:
        return of_hooks(reader.read(config(text), tmp_path))

    (tmp_path / "base_conf.py").write_text(OWN)
    (tmp_path / "base_ours.py").write_text(CONFIG)
    (tmp_path / "base_none.py").write_text("__all__ = []\n" + OWN)
    lost = "post_worker_init of the config (line 1) is replaced by the import of ours in line 2"
    for name, text in (("base_conf", lost), ("base_none", "post_worker_init is ours")):
        assert found(f"from {name} import *\n{CONFIG}") == [text]
    assert found("from base_ours import *\n") == ["post_worker_init is ours"]
    again = "post_worker_init is bound again (line 2), after line 1 binds ours: ours never runs"
    assert found(f"from base_ours import *\n{OWN}") == [again]


def test_a_config_that_is_nested_deeply(config: WriteConfig, reader: ConfigReader) -> None:
    """gunicorn reads the config; ``check`` reports that the source is too deeply nested to read."""
    chain = "def f0(worker): pass\n"
    chain += "".join(f"def f{n}(worker): f{n - 1}(worker)\n" for n in range(1, 2000))
    own = f"{CONFIG}{chain}def post_worker_init(worker): f1999(worker)\n"
    again = "post_worker_init is bound again (line 2002), after line 1 binds ours: ours never runs"
    assert of_hooks(reader.read(config(own))) == [again]
    branches = "if 1:\n    pass\n" + "elif 1:\n    pass\n" * 1100
    found = of_hooks(reader.read(config(f"{CONFIG}{branches}")))
    assert found[0] == "post_worker_init is ours"
    assert " is not read: it is nested too deeply; " in found[1]


def test_a_config_module(reader: ConfigReader, tmp_path: Path) -> None:
    """A module's source is read like a file; a missing source is reported."""
    path = tmp_path / "conf_module.py"
    path.write_text(f"{OWN}{CONFIG}")
    lost = "post_worker_init of the config (line 1) is replaced by the import of ours in line 3"
    arguments = ("--config", "python:conf_module")
    assert of_hooks(reader.read(arguments, tmp_path)) == [lost]
    py_compile.compile(str(path), str(tmp_path / "conf_module.pyc"))
    path.unlink()
    found = of_hooks(reader.read(arguments, tmp_path))
    assert found[0] == "post_worker_init is ours"
    assert found[1].startswith("the source of python:conf_module is not read: "), found
    found = of_hooks(reader.read(("--config", str(tmp_path / "conf_module.pyc"))))
    assert found[1].endswith(
        "it is no Python source; a hook of the config that ours replaces can't be found"
    )
    ours = of_hooks(reader.read(("--config", "python:gunicorn_backlog.hooks")))
    assert ours == ["post_worker_init is ours"]


def test_a_config_that_changes_the_folder(
    config: WriteConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The source is found in the folder from which gunicorn ran the config."""
    config(f"import os\nos.chdir('/')\n{OWN}{CONFIG}")
    monkeypatch.chdir(tmp_path)
    lost = "post_worker_init of the config (line 3) is replaced by the import of ours in line 5"
    for name in ("gunicorn.conf.py", "file:gunicorn.conf.py"):
        assert of_hooks(of_config.read(("--config", name))) == [lost]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("statsd_host = 'localhost:8125'\n", "graphs and monitors that select no tag mix it"),
        (
            "statsd_host = 'localhost:8125'\nfrom gunicorn_backlog import configure\n"
            "configure(backlog_type='gauge')\n",
            "ours of that name is a gauge",
        ),
        ("", ""),
        ("statsd_host = 'localhost:8125'\nenable_backlog_metric = False\n", ""),
        (
            "statsd_host = 'localhost:8125'\nfrom gunicorn.glogging import Logger\n"
            "class Own(Logger):\n    pass\nlogger_class = Own\n",
            "",
        ),
    ],
)
def test_gunicorns_own_metric(
    text: str, line: str, config: WriteConfig, reader: ConfigReader
) -> None:
    """The warning appears only with a logger that pushes to StatsD."""
    read = reader.read(config(f"{CONFIG}enable_backlog_metric = True\n{text}"))
    found = [finding for finding in read.findings if finding.what == "metrics"]
    assert [(finding.level, line in finding.text) for finding in found] == [
        (LEVELS["warning"], True)
    ] * bool(line)


def test_workers_that_lose_their_queues(config: WriteConfig, reader: ConfigReader) -> None:
    """reuse_port with max_requests loses connections; the remedies are named."""
    read = reader.read(config(f"{CONFIG}reuse_port = True\nmax_requests = 1000\n"))
    (found,) = [it for it in read.findings if it.what == "reuse_port"]
    assert found.level == LEVELS["warning"]
    assert "gunicorn.backlog.lost" in found.text
    assert "net.ipv4.tcp_migrate_req=1" in found.remedy


@pytest.mark.parametrize(
    ("reuse_port", "max_requests", "gunicorn", "migrates", "findings"),
    [
        (True, 1000, (27, 0, 1), False, 1),
        (True, 1000, (27, 0, 1), True, 0),
        (True, 0, (27, 0, 1), False, 0),
        (False, 1000, (27, 0, 1), False, 0),
        (True, 1000, (23, 0, 0), False, 0),
    ],
)
def test_when_queues_are_lost(
    reuse_port: bool, max_requests: int, gunicorn: tuple[int, ...], migrates: bool, findings: int
) -> None:
    """Only queues of the workers' own, that the kernel does not move, are warned of."""
    own = reuse_port, max_requests, gunicorn
    assert len(list(of_config.reuse_port_findings(*own, migrates=migrates))) == findings


@pytest.mark.parametrize(
    ("text", "level", "what", "line"),
    [
        ("worker_class = 'no.such'\n", "failed", "worker class", "no.such can't be loaded"),
        (
            "worker_class = 'asgi'\nbacklog = 300\n",
            "ok",
            "worker class",
            "the event loop and the pools of threads behind it are reported",
        ),
        (
            "from gunicorn_backlog import configure\nconfigure(enabled=False)\n",
            "failed",
            "settings",
            "enabled is False",
        ),
    ],
)
def test_configs(
    text: str, level: str, what: str, line: str, config: WriteConfig, reader: ConfigReader
) -> None:
    """Each problem of a config is one line."""
    read = reader.read(config(f"{CONFIG}{text}"))
    (found,) = [finding for finding in read.findings if finding.what == what]
    assert found.level == LEVELS[level]
    assert line in found.text
    assert "\n" not in found.text


@pytest.mark.parametrize("name", ["asgi", "gunicorn.workers.gasgi.ASGIWorker"])
def test_a_class_that_listens_again(name: str, config: WriteConfig, reader: ConfigReader) -> None:
    """The warning names the lower backlog of the class, by gunicorn's name or the dotted one."""
    arguments = (*config(f"{CONFIG}worker_class = {name!r}\n"), "--backlog", "300")
    read = reader.read(arguments)
    (found,) = [finding for finding in read.findings if finding.what == "backlog"]
    assert found.level == LEVELS["warning"]
    assert "makes asyncio listen with 100, not 300" in found.text


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
    """The reason is the last line of the error."""
    read = of_config.read(config(f"{CONFIG}{text}"))
    assert isinstance(read, str)
    assert why in read


def test_a_config_that_takes_for_ever(config: WriteConfig, tmp_path: Path) -> None:
    """At the deadline the config and the programs that it started are ended."""
    path = tmp_path / "pid"
    text = (
        "import subprocess, time\n"
        "pid = subprocess.Popen(['sleep', '600']).pid\n"
        f"print(pid, file=open({str(path)!r}, 'w'))\n"
        "time.sleep(600)\n"
    )
    read = of_config.read(config(text), deadline_s=2)
    assert read == "not read within 2 s"
    wait_for("the config's program to end", lambda: not is_alive(int(path.read_text())))


def test_a_config_that_ends_gunicorn(config: WriteConfig) -> None:
    """The reason is not empty."""
    read = of_config.read(config("import os\nos._exit(0)\n"))
    assert read == "gunicorn ends with exit code 0 before it is read"


def test_a_config_that_forks(config: WriteConfig) -> None:
    """Both processes continue; the result is written once."""
    read = of_config.read(config(f"{CONFIG}import os\nif os.fork():\n    os.wait()\n"))
    assert not isinstance(read, str)
    assert read.backlog == 5


def test_where_its_modules_are_found(
    config: WriteConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Modules are found in ``pythonpath``, as by gunicorn; a local ``json`` hides nothing."""
    own = "from gunicorn.workers.sync import SyncWorker\nclass Own(SyncWorker):\n    pass\n"
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / "own_worker.py").write_text(own)
    (tmp_path / "json.py").write_text("raise OSError('not this one')\n")
    monkeypatch.chdir(tmp_path)
    arguments = ("--pythonpath", "path", "--worker-class", "own_worker.Own")
    read = of_config.read((*config(CONFIG), *arguments))
    assert not isinstance(read, str), read
    (found,) = [finding for finding in read.findings if finding.what == "worker class"]
    assert found.text == "own_worker.Own: states, requests, utilization and waits are reported"


def test_a_config_that_starts_a_program(config: WriteConfig, tmp_path: Path) -> None:
    """A program that the config starts, with inherited descriptors, is not awaited."""
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
    """An unreadable config is one finding like others."""
    environ = {"GUNICORN_BACKLOG_URL": agent.url}
    done = check(*config("raise OSError('no disk')"), environ=environ)
    assert done.code == FAILED
    assert has_finding(done, "failed", "config", "gunicorn can't read it: OSError: no disk"), (
        done.out
    )


def test_what_raw_env_says(config: WriteConfig, agent: StandInAgent, reader: ConfigReader) -> None:
    """gunicorn's raw_env is applied: the Agent has its address, or is disabled."""
    hooks = f"{CONFIG}raw_env = ['GUNICORN_BACKLOG_URL={agent.url}'"
    done = check(*config(f"{hooks}]\n"), environ={"DD_AGENT_HOST": "agent.invalid"})
    assert done.code == OK, done
    assert has_finding(done, "ok", "Agent", agent.url)
    done = check(*config(f"{hooks}, 'DD_DOGSTATSD_DISABLE=true']\n"))
    assert done.code == WARNING
    assert has_finding(done, "warning", "Agent", DISABLED), done
    arguments = config(f"{hooks}, 'DD_DOGSTATSD_DISABLE=false']\n")
    assert not reader.read(arguments, DD_DOGSTATSD_DISABLE="true").disabled


def test_waits_are_reported_on_linux_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """On another system, which is simulated, no waits are reported."""
    reported = "sync: states, requests, utilization and waits are reported"
    assert of_config.class_finding("sync", Kind.SYNC).text == reported
    monkeypatch.setattr(sys, "platform", "darwin")
    reported = "sync: states, requests and utilization are reported"
    assert of_config.class_finding("sync", Kind.SYNC).text == reported
