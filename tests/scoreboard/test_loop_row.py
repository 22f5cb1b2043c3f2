"""loop_row: the state of an event loop, from its words."""

from __future__ import annotations

import pytest

from gunicorn_backlog.scoreboard.loop_row import (
    BEAT_EVERY_NS,
    BEAT_NS,
    LOOP_ROW,
    METER,
    OVERDUE_NS,
    SINCE_NS,
    WORK_NS,
    LoopRow,
    Meter,
    PoolState,
    decode_loop,
)

SECOND = 10**9
LATE_NS = BEAT_EVERY_NS + OVERDUE_NS
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
    ("words", "now_ns", "ran", "blocked_ns"),
    [
        ({"meter": Meter.EXACT, "work_ns": 7}, SECOND, (7, SECOND), 0),
        ({"meter": Meter.EXACT, "work_ns": 7 - 50, "since_ns": 50}, 90, (47, 90), 40),
        (
            {"meter": Meter.EXACT, "work_ns": 7 - 50, "since_ns": 50, "beat_ns": 80},
            90,
            (47, 90),
            10,
        ),
        ({"meter": Meter.BEAT, "work_ns": 7, "beat_ns": 50}, 49 + 2 * BEAT_EVERY_NS, (7, 50), 0),
        ({"meter": Meter.BEAT, "work_ns": 7, "beat_ns": 50}, SECOND, (SECOND - 43, SECOND), 1),
        ({"meter": Meter.BEAT, "work_ns": 0}, SECOND, (0, 0), 0),
        ({"meter": Meter.ABSENT, "beat_ns": 50}, 60, (0, 50), 0),
    ],
    ids=["in a poll", "runs", "beats", "late", "missed a beat", "no beat yet", "not measured"],
)
def test_running_time(
    words: dict[str, int], now_ns: int, ran: tuple[int, int], blocked_ns: int
) -> None:
    """The time until now includes the current iteration, or a block that swallowed a beat."""
    state = decode_loop(written(**words))
    assert state.running_time(now_ns) == ran
    assert state.blocked_ns(now_ns) == (SECOND - 50 if blocked_ns == 1 else blocked_ns)


def test_late_beats() -> None:
    """A beat is late from 120 ms on; without any beat nothing is late."""
    late = decode_loop(written(beat_ns=1000)).late_ns
    assert [late(1000), late(999 + LATE_NS), late(1000 + LATE_NS)] == [0, 0, OVERDUE_NS]
    assert decode_loop(written()).late_ns(10**12) == 0


def test_overwritten_words() -> None:
    """Another process's bytes raise nothing, and pools without sense are absent."""
    assert decode_loop(b"\xff" * LOOP_ROW.size).pools == ()
