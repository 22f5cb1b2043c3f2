"""reader: consistent rows while workers write."""

from __future__ import annotations

import mmap
import os
import signal
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, cast

import pytest

from gunicorn_backlog.scoreboard.kind import Kind
from gunicorn_backlog.scoreboard.layout import SLOTS_AT, Layout, write_claimed
from gunicorn_backlog.scoreboard.reader import Reader
from gunicorn_backlog.scoreboard.scoreboard import Scoreboard
from gunicorn_backlog.scoreboard.slot import (
    BEGUN,
    IN_FLIGHT,
    ROW_SIZE,
    SINCE_NS,
    SLOT,
    SUBMITTED,
    TAKEN,
    WORK_NS,
    Slot,
    SlotRecord,
)
from gunicorn_backlog.scoreboard.wait_histogram import BUCKETS
from gunicorn_backlog.scoreboard.worker_row import WorkerRow, WorkerRows
from gunicorn_backlog.workers.last_wait import LastWait
from gunicorn_backlog.workers.request_counters import track_busy_threads
from tests.lab.short_and_soak import forms
from tests.lab.waiting import wait_for

ENOUGH = 1000  # different states; with fewer a test has shown nothing
ALWAYS = -1
LAYOUT = Layout(slots=4, thread_rows=12)
KIND_AT, CAPACITY_AT, RECORD_AT, THREADS_AT = 8, 12, 24, 56  # in a slot
RUNNING = {10: 1, 11: 2, 20: 3, 21: 4}  # two sync workers, and pools of one and of nine threads
SLOTS = (
    SlotRecord(21, 4, Kind.GTHREAD, 0, 9, 1, 50, 0, 0, 3, threads_at=3),
    SlotRecord(10, 1, Kind.SYNC, 0, 1, 1, 5, 0, 0, 7, threads_at=0),
    SlotRecord(20, 3, Kind.GTHREAD, 0, 1, 1, 40, 0, 0, 2, threads_at=0),
    SlotRecord(11, 2, Kind.SYNC, 0, 1, 1, 5, 0, 0, 8, threads_at=0),
)
# Words that change, by the worker's pid: requests begun of a slot; connections handed to a pool;
# connections taken by the pools' last threads.
BEGUN_OF_11 = SLOTS_AT + 3 * ROW_SIZE + 24 + 8 * BEGUN
HANDED_TO_20 = SLOTS_AT + 2 * ROW_SIZE + 24 + 8 * SUBMITTED
TAKEN_BY_20 = LAYOUT.thread_rows_at + 1 * ROW_SIZE
TAKEN_BY_21 = LAYOUT.thread_rows_at + (3 + 2) * ROW_SIZE + 8 * 8
AT_FIRST = {10: (7, 0), 11: (8, 0), 20: (2, 40), 21: (3, 50)}  # requests begun, and queued
RESTLESS = [(11, BEGUN_OF_11), (20, HANDED_TO_20), (20, TAKEN_BY_20), (21, TAKEN_BY_21)]


@contextmanager
def worker(
    scoreboard: Scoreboard, serve: Callable[[Slot], None], kind: Kind, capacity: int
) -> Iterator[int]:
    """Fork a worker that claims a slot and serves until killed."""
    pid = os.fork()
    if pid == 0:
        try:
            serve(scoreboard.claim(os.getpid(), 1, kind, capacity))
        finally:
            os._exit(1)
    try:
        yield pid
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def handling(slot: Any) -> Callable[[], object]:
    """Return an empty request on a clock that encodes the other numbers of the record.

    The n-th request begins at 2n - 1 and ends at 2n.
    """
    now_ns = 0

    def clock_ns() -> int:
        nonlocal now_ns
        now_ns += 1
        return now_ns

    def parse_head() -> None:
        slot.words[SINCE_NS] = now_ns

    last_wait = LastWait(skips=False)
    return track_busy_threads(parse_head, [slot], last_wait, beyond=parse_head, clock_ns=clock_ns)


def serve_at_full_speed(slot: Slot) -> None:
    """Begin and end requests without a pause."""
    handle = handling(slot)
    while True:
        handle()


def serve_in_threads(slot: Slot) -> None:
    """Begin and end requests in each thread, each with its own clock."""
    for record in slot.threads:
        threading.Thread(target=serve_at_full_speed, args=(record,), daemon=True).start()
    signal.pause()


def is_true(work_ns: int, taken: int, since_ns: int) -> bool:
    """Return whether a record can have existed: idle, in one of three steps, or busy."""
    idle = work_ns == taken and since_ns == max(0, 2 * taken - 1)
    beginning = work_ns == taken - 1 and since_ns in (2 * taken - 3, 0)
    return idle or beginning or (work_ns == -taken and since_ns in (0, 2 * taken - 1))


@pytest.mark.parametrize(
    ("least", "processes"),
    [
        pytest.param(50_000, 2, id="short"),
        pytest.param(1_000_000, 1, marks=pytest.mark.soak),
        pytest.param(1_000_000, 2, marks=pytest.mark.soak),
    ],
)
def test_no_inconsistent_read_goes_undetected(least: int, processes: int) -> None:
    """Beside writers at full speed, threads and processes, each accepted record is consistent.

    ``least``: number of reads; more on a machine where the writers get no CPU meanwhile.
    """
    scoreboard = Scoreboard(slots=16)
    reads = 0
    seen: set[tuple[int, int, int]] = set()
    with ExitStack() as stack:
        for _ in range(processes):
            stack.enter_context(worker(scoreboard, serve_at_full_speed, Kind.SYNC, 1))
            stack.enter_context(worker(scoreboard, serve_in_threads, Kind.GTHREAD, 2))
        while reads < least or (len(seen) <= ENOUGH and reads < 20 * least):
            for record in records_of(scoreboard):
                reads += 1
                if record is not None:
                    assert is_true(*record), record
                    seen.add(record)
    assert len(seen) > ENOUGH
    assert len({work_ns < 0 for work_ns, _, _ in seen}) == 2


def records_of(scoreboard: Scoreboard) -> Iterator[tuple[int, int, int] | None]:
    """Yield the records as read by the arbiter; None for a record that changes at each attempt."""
    reader = scoreboard.reader
    for index, slot in enumerate(reader.claimed()):
        if slot.kind == Kind.SYNC:
            at = SLOTS_AT + ROW_SIZE * index
            found = reader._steady(at, at + ROW_SIZE)
            yield found and SlotRecord._make(SLOT.unpack(found))[6:9]  # type: ignore[misc]  # three
        else:
            at = reader._layout.thread_rows_at + slot.threads_at * ROW_SIZE
            words = reader._steady(at, at + 3 * ROW_SIZE)
            if words is None:
                yield None
                continue
            numbers = memoryview(words).cast("q").tolist()
            yield from (tuple(numbers[thread::8]) for thread in range(2))  # type: ignore[misc]


@forms("least", short=5_000, long=200_000)
def test_states_beside_threads_at_full_speed(least: int) -> None:
    """A worker with two threads never has more than two busy ones, and counters only grow."""

    def serve(slot: Slot) -> None:
        handle = track_busy_threads(int, slot.threads, LastWait(skips=False), beyond=int)

        def run() -> None:
            while True:
                slot.add(BEGUN, 1)
                handle()

        for _ in range(2):
            threading.Thread(target=run, daemon=True).start()
        signal.pause()

    scoreboard = Scoreboard(slots=16)
    began, reads = (0, 0), 0
    with worker(scoreboard, serve, Kind.GTHREAD, 2) as pid:
        while reads < least or (began[0] <= ENOUGH and reads < 20 * least):
            reads += 1
            state = scoreboard.reader.read({pid: 1}).by_pid.get(pid)
            if state is None:
                continue
            assert state.busy in (0, 1, 2)
            now = (state.begun, state.worked_ns if not state.busy else began[1])
            assert now >= began
            began = now
    assert began[0] > ENOUGH


class Restless(bytearray):
    """Memory beside a writer: one word grows by one after some of the reads."""

    def __init__(self, at: int, changes: int) -> None:
        super().__init__(LAYOUT.size)
        self[:SLOTS_AT] = LAYOUT.header(1)
        struct.pack_into("=I", self, 24, len(SLOTS))
        for number, line in enumerate(SLOTS):
            SLOT.pack_into(self, SLOTS_AT + number * ROW_SIZE, *line)
        self._at, self._changes = at, changes

    def __getitem__(self, where: Any) -> Any:
        """Return the bytes, then change the word if these bytes contain the word."""
        taken = bytes(super().__getitem__(where))
        if self._changes and where.start <= self._at < where.stop:
            self._changes -= 1
            (word,) = struct.unpack_from("=q", self, self._at)
            struct.pack_into("=q", self, self._at, word + 1)
        return taken


def read(at: int, changes: int) -> WorkerRows:
    """Read memory in which one word changes after each of the first reads."""
    memory: Any = Restless(at, changes)
    return Reader(memory, LAYOUT).read(RUNNING)


def said(rows: WorkerRows) -> dict[int, tuple[int, int]]:
    """Return the numbers that may change, by pid."""
    return {pid: (row.begun, row.queued) for pid, row in rows.by_pid.items()}


@pytest.mark.parametrize(("pid", "at"), RESTLESS)
@pytest.mark.parametrize("changes", [1, 2, 3, 9])
def test_what_changes_and_then_rests_is_read_as_it_is_at_last(
    pid: int, at: int, changes: int
) -> None:
    """After the last change each worker's final number is read; the memory is simulated."""
    rows = read(at, changes)
    begun, queued = AT_FIRST[pid]
    if at == HANDED_TO_20:
        queued += changes
    elif at == BEGUN_OF_11:
        begun += changes
    else:
        queued -= changes
    assert said(rows) == AT_FIRST | {pid: (begun, queued)}
    assert not rows.unread


@pytest.mark.parametrize(("pid", "at"), RESTLESS)
def test_what_changes_for_ever_is_unread(pid: int, at: int) -> None:
    """Only the changing worker is unread, all others are read; the memory is simulated."""
    rows = read(at, ALWAYS)
    assert rows.unread == [pid]
    assert said(rows) == {other: numbers for other, numbers in AT_FIRST.items() if other != pid}


def test_who_was_unread_is_read_when_it_rests() -> None:
    """An unread worker is read after its last change, also at its first value; simulated."""
    pid, at = RESTLESS[0]
    memory = Restless(at, ALWAYS)
    (word,) = struct.unpack_from("=q", memory, at)
    reader = Reader(cast(Any, memory), LAYOUT)
    assert reader.read(RUNNING).unread == [pid]
    memory._changes = 0
    struct.pack_into("=q", memory, at, word)
    rows = reader.read(RUNNING)
    assert not rows.unread
    assert said(rows) == AT_FIRST


def test_workers_of_several_kinds_at_once() -> None:
    """Real processes of each kind, claimed in reverse order, report their own numbers."""

    def greenlets(slot: Slot) -> None:
        slot.words[IN_FLIGHT], slot.words[BEGUN] = 5, 6
        signal.pause()

    def pool(slot: Slot) -> None:
        slot.words[SUBMITTED] = 9
        slot.threads[0].words[WORK_NS] = slot.threads[1].words[WORK_NS] = -1
        slot.threads[1].words[TAKEN] = 4
        slot.words[BEGUN] = 3
        signal.pause()

    def one(slot: Slot) -> None:
        slot.words[WORK_NS], slot.words[BEGUN] = 7, 3
        signal.pause()

    scoreboard = Scoreboard(slots=16)
    with (
        worker(scoreboard, greenlets, Kind.GREENLET, 0) as first,
        worker(scoreboard, pool, Kind.GTHREAD, 2) as second,
        worker(scoreboard, one, Kind.SYNC, 1) as third,
    ):
        running = dict.fromkeys((first, second, third), 1)

        def rows() -> Mapping[int, WorkerRow] | None:
            found = scoreboard.reader.read(running).by_pid
            return found if sum(row.begun > 0 for row in found.values()) == 3 else None

        found = wait_for("the numbers of each worker", rows)
    numbers = {pid: (row.kind, row.in_flight, row.queued, row.begun) for pid, row in found.items()}
    assert numbers == {
        first: (Kind.GREENLET, 5, 0, 6),
        second: (Kind.GTHREAD, 2, 5, 3),
        third: (Kind.SYNC, 0, 0, 3),
    }
    assert [found[pid].worked_ns for pid in (first, second, third)] == [0, -2, 7]


def test_nonsense_in_the_counters_of_waits() -> None:
    """Two slots with all bits set overflow the sum of waits: nothing is raised."""
    with mmap.mmap(-1, LAYOUT.size) as memory:
        memory[:SLOTS_AT] = LAYOUT.header(1)
        write_claimed(memory, len(SLOTS))
        memory[SLOTS_AT : LAYOUT.thread_rows_at] = b"".join(SLOT.pack(*line) for line in SLOTS)
        memory[LAYOUT.waits_at :] = b"\xff" * (LAYOUT.size - LAYOUT.waits_at)
        waits = Reader(memory, LAYOUT).waits()
    assert len(waits) == BUCKETS
    assert all(0 <= counter < 2**64 for counter in waits)


def test_waits_of_a_slot_that_tells_since_the_last_look() -> None:
    """A slot's new owner measures waits, and its counters are read from now on."""
    scoreboard = Scoreboard(slots=4)
    scoreboard.claim(os.getpid(), 1, Kind.UNKNOWN, 0)
    assert not any(scoreboard.reader.waits())
    scoreboard.claim(os.getpid(), 2, Kind.SYNC, 1).count_wait(3)
    assert scoreboard.reader.waits()[3] == 1


def test_workers_that_changed_within_the_same_dict() -> None:
    """The reader keeps no reference to the caller's dict."""
    scoreboard = Scoreboard(slots=4)
    scoreboard.claim(os.getpid(), 1, Kind.SYNC, 1)
    running: dict[int, int] = {}
    assert list(scoreboard.reader.read(running).by_pid) == []
    running[os.getpid()] = 1
    assert list(scoreboard.reader.read(running).by_pid) == [os.getpid()]


@pytest.mark.parametrize(
    ("kind", "offset", "octets"),
    [
        (Kind.SYNC, KIND_AT, b"\x07\x00"),
        (Kind.SYNC, CAPACITY_AT, bytes(4)),
        (Kind.SYNC, CAPACITY_AT, b"\xff" * 4),
        (Kind.ASGI, RECORD_AT, b"\xff" * 8),
        (Kind.ASGI, RECORD_AT, b"\xff" * 7 + b"\x7f"),
        (Kind.GTHREAD, RECORD_AT, b"\xff" * 7 + b"\x7f"),  # submitted
        (Kind.GTHREAD, RECORD_AT + 8, bytes(7) + b"\x80"),  # returned
        (Kind.GTHREAD, RECORD_AT + 16, b"\xff" * 8),  # aside: -1
        (Kind.GTHREAD, RECORD_AT + 16, b"\xff" * 7 + b"\x7f"),
        (Kind.GTHREAD, CAPACITY_AT, bytes(4)),
        (Kind.GTHREAD, THREADS_AT, b"\xff" * 4),
    ],
)
def test_an_overwritten_slot_is_unread(kind: Kind, offset: int, octets: bytes) -> None:
    """An impossible value gives no number; the worker neither starts nor has a state."""
    scoreboard = Scoreboard(slots=2)
    pid = os.getpid()
    scoreboard.claim(pid, 1, kind, {Kind.SYNC: 1, Kind.GTHREAD: 2}.get(kind, 0))
    assert list(scoreboard.reader.read({pid: 1}).by_pid) == [pid]
    scoreboard._memory[SLOTS_AT + offset : SLOTS_AT + offset + len(octets)] = octets
    assert scoreboard.reader.read({pid: 1}) == ({}, [], [pid])


def test_overwritten_thread_rows_are_unread() -> None:
    """The queue's length also depends on the threads' rows."""
    scoreboard = Scoreboard(slots=2)
    pid = os.getpid()
    scoreboard.claim(pid, 1, Kind.GTHREAD, 2)
    at = scoreboard._layout.thread_rows_at + ROW_SIZE  # ``taken`` of the first thread
    scoreboard._memory[at : at + 8] = bytes(7) + b"\x80"
    assert scoreboard.reader.read({pid: 1}) == ({}, [], [pid])
