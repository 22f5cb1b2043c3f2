"""Thousands of worker forks beside our thread: no worker hangs, and nothing grows."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from agent import StandInAgent

from tests.conftest import AgentFactory, ServerFactory
from tests.lab.dns import NAME, Names
from tests.lab.endless_load import EndlessLoad
from tests.lab.first_request_app import METRIC
from tests.lab.gunicorn_versions import Gunicorn
from tests.lab.procfs import descriptors, our_threads, resident_kb, threads
from tests.lab.pushes import pushes
from tests.lab.sandbox import with_slow_open
from tests.lab.server import CONFIG, Server
from tests.lab.short_and_soak import forms
from tests.lab.waiting import wait_for
from tests.lab.worker_classes import GTHREAD, SYNC, WorkerClass

# So that there are many forks: gunicorn rests 50 ms on average after each, and here it does not;
# and what takes a worker longest, to import datadog, was done for it.
FAST = "import random\nimport datadog\nrandom.random = lambda: 0.0\n"
INTERVAL = {"GUNICORN_BACKLOG_INTERVAL": "0.1", "GUNICORN_BACKLOG_SAMPLES": "10"}
MB_PER_10_000_FORKS = 1.0
LONG = 10_000


@dataclass(frozen=True)
class Case:
    """Workers that answer one request each."""

    worker_class: WorkerClass
    workers: int
    preload: bool

    def start(
        self, gunicorn: Gunicorn, serve: ServerFactory, config: str, environ: dict[str, str]
    ) -> Side:
        """Start a server of such workers, each of which does in its request all that may hang."""
        preload = ("--preload",) if self.preload else ()
        server = serve(
            gunicorn,
            workers=self.workers,
            config=FAST + config,
            arguments=(*self.worker_class.arguments, "--max-requests", "1", *preload),
            app="tests.lab.first_request_app:app",
            environ=INTERVAL | environ,
        ).wait_until_it_serves()
        return Side(server, EndlessLoad(server))


CASES = [
    pytest.param(Case(SYNC, 2, preload=False), id="sync"),
    pytest.param(Case(SYNC, 4, preload=True), id="sync-preload"),
    pytest.param(Case(GTHREAD, 4, preload=False), id="gthread"),
    pytest.param(Case(GTHREAD, 2, preload=True), id="gthread-preload"),
]


@dataclass(frozen=True)
class Vitals:
    """An arbiter, after so many forks."""

    forks: int
    threads: int
    descriptors: int
    resident_kb: int


@dataclass
class Side:
    """A server under load, with us or without."""

    server: Server
    load: EndlessLoad
    vitals: list[Vitals] = field(default_factory=list)

    def look(self) -> None:
        """Note the arbiter's vitals now, without the files by which workers show that they live."""
        pid = self.server.pid
        kept = [link for link in descriptors(pid).values() if "wgunicorn" not in link]
        self.vitals.append(
            Vitals(forks(self.server), len(threads(pid)), len(kept), resident_kb(pid))
        )

    def run(self, count: int) -> None:
        """Look twice a second, until there were that many forks."""
        deadline_s = time.monotonic() + 30 + count
        with self.load:
            while not self.vitals or self.vitals[-1].forks < count:
                assert time.monotonic() < deadline_s, "too few forks"
                time.sleep(0.5)
                self.look()
                assert self.load.ends["hung"] == 0

    def report(self, name: str) -> None:
        """Print its figures."""
        told = f"{name}: {self.vitals[-1].forks} forks; requests {dict(self.load.ends)}"
        told += f"; threads {spread([it.threads for it in self.vitals])}"
        told += f"; descriptors {spread([it.descriptors for it in self.vitals])}"
        told += f"; resident {spread([it.resident_kb for it in self.vitals])} kB"
        print(f"{told}, slope {mb_per_10_000_forks(self.vitals):.2f} MB per 10,000 forks")


def port(agent: StandInAgent) -> str:
    """Return where it listens."""
    return agent.url.rpartition(":")[2]


def forks(server: Server) -> int:
    """Return how many workers were begun."""
    return server.log.count("Booting worker")


def spread(values: Sequence[int]) -> str:
    """Return the least, the median and the most."""
    return f"{min(values)} / {statistics.median(values):.0f} / {max(values)}"


def mb_per_10_000_forks(vitals: Sequence[Vitals]) -> float:
    """Return how fast the resident memory grows, after a quarter of the forks for warming up."""
    warm = [it for it in vitals if it.forks >= vitals[-1].forks / 4]
    slope, _ = statistics.linear_regression(
        [it.forks for it in warm], [it.resident_kb for it in warm]
    )
    return slope * 10_000 / 1024


@forms("count", short=25, long=LONG)
@pytest.mark.parametrize("case", CASES)
def test_no_worker_hangs_and_nothing_grows(
    case: Case, count: int, newest: Gunicorn, serve: ServerFactory, listen: AgentFactory
) -> None:
    """Each worker answers one request, in which the app logs, sends a metric, looks up a name."""
    agent, apps_agent = listen(), listen()
    environ = {"GUNICORN_BACKLOG_URL": agent.url, "APP_STATSD_PORT": port(apps_agent)}
    side = case.start(newest, serve, CONFIG, environ)
    side.run(count)
    side.report("with us")
    check(side, agent, apps_agent)
    if count == LONG:
        assert mb_per_10_000_forks(side.vitals) < MB_PER_10_000_FORKS


@pytest.mark.soak
@pytest.mark.parametrize("case", CASES)
def test_the_same_without_us(
    case: Case, newest: Gunicorn, serve: ServerFactory, agent: StandInAgent
) -> None:
    """What gunicorn does by itself, to compare with: it closes no fewer connections."""
    side = case.start(newest, serve, "", {"APP_STATSD_PORT": port(agent)})
    side.run(LONG // 5)
    side.report("without us")
    assert side.load.ends["hung"] == 0


def test_a_look_up_of_ours_hangs_no_worker(
    newest: Gunicorn, serve: ServerFactory, agent: StandInAgent, tmp_path: Path
) -> None:
    """A worker is not forked while the C library holds a lock for our look-up of the Agent's name.

    It would wait for that lock for ever, in the app's first look-up.
    """
    names = Names(tmp_path)
    names.lead_to("127.0.0.1")
    server = serve(
        newest,
        workers=4,
        config=FAST + CONFIG,
        run_by=(*names.run_by, *with_slow_open("/etc/resolv.conf", delay_ms=10)),
        arguments=("--max-requests", "1"),
        app="tests.lab.first_request_app:app",
        environ=INTERVAL | {"GUNICORN_BACKLOG_URL": f"udp://{NAME}:{port(agent)}"},
    )
    wait_for("a push", lambda: agent.datagrams)
    with EndlessLoad(server) as load:
        wait_for("the first workers", lambda: load.ends["answered"] + load.ends["hung"] > 8)
    print(dict(load.ends))
    assert load.ends["hung"] == 0


def check(side: Side, agent: StandInAgent, apps_agent: StandInAgent) -> None:
    """Assert that all are answered, one thread of ours at all times, and no descriptor stays."""
    ends = side.load.ends
    assert ends["hung"] == 0
    assert {it.threads for it in side.vitals} == {2}
    assert len(our_threads(side.server.pid)) == 1
    kept = [it.descriptors for it in side.vitals]
    assert max(kept) - min(kept) <= 3
    assert "Traceback" not in side.server.log
    wait_for("each fork to be told once", lambda: spawned(agent) == forks(side.server))
    assert sum(METRIC in it.octets.decode() for it in apps_agent.datagrams) > 0


def spawned(agent: StandInAgent) -> float:
    """Return how many forks the pushes told of."""
    return sum(push.values("gunicorn.workers.spawned")[0] for push in pushes(agent))
