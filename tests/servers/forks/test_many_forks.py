"""Thousands of forks while our thread runs: no worker hangs, and nothing grows."""

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
from tests.lab.nightly import nightly
from tests.lab.procfs import descriptors, our_threads, resident_kb, threads
from tests.lab.pushes import pushes
from tests.lab.sandbox import with_slow_open
from tests.lab.server import CONFIG, Server
from tests.lab.waiting import wait_for
from tests.lab.worker_classes import GTHREAD, SYNC, WorkerClass

# For many forks: gunicorn sleeps random.random() * 0.1 s after each, and a worker's longest
# task is to import datadog.
FAST = "import random\nimport datadog\nrandom.random = lambda: 0.0\n"
INTERVAL = {"GUNICORN_BACKLOG_INTERVAL": "0.1", "GUNICORN_BACKLOG_SAMPLES": "10"}
MB_PER_10_000_FORKS = 1.0
SHORT, LONG = 8, 10_000  # forks


@dataclass(frozen=True)
class Case:
    """A server whose workers answer one request each."""

    worker_class: WorkerClass
    workers: int
    preload: bool

    def start(
        self, gunicorn: Gunicorn, serve: ServerFactory, config: str, environ: dict[str, str]
    ) -> Side:
        """Start the server; each request does everything that could hang."""
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


CASES = {
    "sync": Case(SYNC, 2, preload=False),
    "sync-preload": Case(SYNC, 4, preload=True),
    "gthread": Case(GTHREAD, 4, preload=False),
    "gthread-preload": Case(GTHREAD, 2, preload=True),
}
# By day both classes, one of them with a preloaded app.
FORMS = [
    *(pytest.param(CASES[name], SHORT, id=f"{name}-short") for name in ("sync", "gthread-preload")),
    *(nightly(CASES[name], SHORT, id=f"{name}-short") for name in ("sync-preload", "gthread")),
    *(
        pytest.param(case, LONG, id=f"{name}-long", marks=pytest.mark.soak)
        for name, case in CASES.items()
    ),
]


@dataclass(frozen=True)
class Vitals:
    """Threads, descriptors and memory of an arbiter after a number of forks."""

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

    def measure(self) -> None:
        """Append the arbiter's vitals, without the descriptors of the workers' heartbeat files."""
        pid = self.server.pid
        kept = [link for link in descriptors(pid).values() if "wgunicorn" not in link]
        self.vitals.append(
            Vitals(forks(self.server), len(threads(pid)), len(kept), resident_kb(pid))
        )

    def run(self, count: int) -> None:
        """Measure five times a second until the number of forks is reached."""
        deadline_s = time.monotonic() + 30 + count
        with self.load:
            while not self.vitals or self.vitals[-1].forks < count:
                assert time.monotonic() < deadline_s, "too few forks"
                time.sleep(0.2)
                self.measure()
                assert self.load.ends["hung"] == 0

    def report(self, name: str) -> None:
        """Print the server's figures."""
        figures = f"{name}: {self.vitals[-1].forks} forks; requests {dict(self.load.ends)}"
        figures += f"; threads {spread([each.threads for each in self.vitals])}"
        figures += f"; descriptors {spread([each.descriptors for each in self.vitals])}"
        figures += f"; resident {spread([each.resident_kb for each in self.vitals])} kB"
        print(f"{figures}, slope {mb_per_10_000_forks(self.vitals):.2f} MB per 10,000 forks")


def port(agent: StandInAgent) -> str:
    """Return the port of the Agent."""
    return agent.url.rpartition(":")[2]


def forks(server: Server) -> int:
    """Return the number of workers that booted."""
    return server.log.count("Booting worker")


def spread(values: Sequence[int]) -> str:
    """Return the minimum, the median and the maximum."""
    return f"{min(values)} / {statistics.median(values):.0f} / {max(values)}"


def mb_per_10_000_forks(vitals: Sequence[Vitals]) -> float:
    """Return the growth of the resident memory, without the first quarter of the forks."""
    warm = [each for each in vitals if each.forks >= vitals[-1].forks / 4]
    slope, _ = statistics.linear_regression(
        [each.forks for each in warm], [each.resident_kb for each in warm]
    )
    return slope * 10_000 / 1024


@pytest.mark.parametrize(("case", "count"), FORMS)
def test_no_worker_hangs_and_nothing_grows(
    case: Case, count: int, newest: Gunicorn, serve: ServerFactory, listen: AgentFactory
) -> None:
    """In its only request, each worker logs, sends a metric, and looks up a name."""
    agent, apps_agent = listen(), listen()
    environ = {"GUNICORN_BACKLOG_URL": agent.url, "APP_STATSD_PORT": port(apps_agent)}
    side = case.start(newest, serve, CONFIG, environ)
    side.run(count)
    side.report("with us")
    check(side, agent, apps_agent)
    if count == LONG:
        assert mb_per_10_000_forks(side.vitals) < MB_PER_10_000_FORKS


@pytest.mark.soak
@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
def test_the_same_without_us(
    case: Case, newest: Gunicorn, serve: ServerFactory, agent: StandInAgent
) -> None:
    """For comparison: gunicorn itself closes no fewer connections."""
    side = case.start(newest, serve, "", {"APP_STATSD_PORT": port(agent)})
    side.run(LONG // 5)
    side.report("without us")
    assert side.load.ends["hung"] == 0


def test_a_look_up_of_ours_hangs_no_worker(
    newest: Gunicorn, serve: ServerFactory, agent: StandInAgent, tmp_path: Path
) -> None:
    """No fork happens while the C library holds a lock for our look-up of the Agent's name.

    The worker would wait for that lock for ever in the app's first look-up.
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
    """Assert that no request hung, one thread of ours ran, and no descriptor leaked."""
    ends = side.load.ends
    assert ends["hung"] == 0
    assert {each.threads for each in side.vitals} == {2}
    assert len(our_threads(side.server.pid)) == 1
    kept = [each.descriptors for each in side.vitals]
    assert max(kept) - min(kept) <= 3
    assert "Traceback" not in side.server.log
    wait_for("each fork to be counted once", lambda: spawned(agent) == forks(side.server))
    assert sum(METRIC in each.octets.decode() for each in apps_agent.datagrams) > 0


def spawned(agent: StandInAgent) -> float:
    """Return the sum of gunicorn.workers.spawned."""
    return sum(push.values("gunicorn.workers.spawned")[0] for push in pushes(agent))
