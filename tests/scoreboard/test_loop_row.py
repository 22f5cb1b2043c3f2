"""loop_row: the state of an event loop, from its words."""

from __future__ import annotations

import pytest

from gunicorn_backlog.scoreboard.loop_row import (
    BEAT_EVERY_NS,
    BEAT_NS,
    LOOP_ROW,
    METER,
    SINCE_NS,
    WORK_NS,
    LoopRow,
    Meter,
    PoolState,
    decode_loop,
)

POOLS = [PoolState(40, 20, 40), None, PoolState(3, 0, None), PoolState(0, 2**32 - 1, 0)]


def written(**words: int) -> bytes:
    """Return a row with these words."""
    octets = bytearray(LOOP_ROW.size)
    numbers = {"work_ns": WORK_NS, "since_ns": SINCE_NS, "beat_ns": BEAT_NS, "meter": METER}
    for name, word in words.items():
        memoryview(octets).cast("q")[numbers[name]] = word
    return bytes(octets)


def test_pools_by_name() -> None:
    """A pool that the app does not use is absent; a capacity may be unknown or 0."""
    octets = bytearray(LOOP_ROW.size)
    row = LoopRow(memoryview(octets).cast("q"))
    row.write_pools(POOLS)
    pools = dict(decode_loop(octets).pools)
    assert pools == {"anyio": POOLS[0], "default": POOLS[2], "gevent": POOLS[3]}
    assert [pool.idle for pool in pools.values()] == [0, None, 0]
    row.detach()
    row.write_pools([None] * 4)
    assert dict(decode_loop(octets).pools) == pools


@pytest.mark.parametrize(
    ("words", "now_ns", "ran_ns"),
    [
        ({"meter": Meter.EXACT, "work_ns": 700}, 9000, 700),
        ({"meter": Meter.EXACT, "work_ns": 700 - 5000, "since_ns": 5000}, 9000, 4700),
        ({"meter": Meter.BEAT, "work_ns": 700, "beat_ns": 5000}, 5000 + BEAT_EVERY_NS, 700),
        ({"meter": Meter.BEAT, "work_ns": 700, "beat_ns": 5}, 6 + BEAT_EVERY_NS, 701 + 10**8),
        ({"meter": Meter.NONE, "beat_ns": 5000}, 10**10, 0),
    ],
    ids=["in a poll", "runs", "on time", "overdue", "not measured"],
)
def test_running_time(words: dict[str, int], now_ns: int, ran_ns: int) -> None:
    """The time until now includes the current iteration, or a block since the latest beat."""
    assert decode_loop(written(**words)).ran_by(now_ns) == ran_ns


def test_late_beats() -> None:
    """A beat is late from 100 ms on; without any beat nothing is late."""
    late = decode_loop(written(beat_ns=1000)).late_ns
    assert [late(1000), late(1000 + BEAT_EVERY_NS), late(1300 + BEAT_EVERY_NS)] == [0, 0, 300]
    assert decode_loop(written()).late_ns(10**12) == 0


def test_overwritten_words() -> None:
    """Another process's bytes raise nothing, and pools without sense are absent."""
    assert decode_loop(b"\xff" * LOOP_ROW.size).pools == ()
