"""That idle connections are weighed as it says; never how little they weigh."""

from __future__ import annotations

import mmap
import os

from tests.bench import idle
from tests.bench.machine import Memory, describe, memory, ticks
from tests.bench.page import Measured, section

EMPTY = Memory(0, 0, 0)


def test_memory_of_a_process_is_in_bytes() -> None:
    with mmap.mmap(-1, 32 << 20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as block:  # malloc has free blocks of its own
        block.write(bytes(32 << 20))
        with_it = memory(os.getpid())
    less = with_it - memory(os.getpid())
    assert less.rss >= 30 << 20
    assert less.pss >= 30 << 20
    assert with_it.rss >= with_it.pss >= with_it.private > 0


def test_time_of_a_process_that_ended_is_known_until_somebody_waits_for_it() -> None:
    child = os.fork()
    if not child:
        while sum(os.times()[:2]) < 0.1:
            pass
        os._exit(0)
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    spent = sum(ticks(child))
    os.waitpid(child, 0)
    assert spent >= 0.05


def test_a_row_divides_by_the_connections() -> None:
    row = idle.Row("hotswap", "1", Memory(1000, 500, 1), Memory(11000, 5500, 1), EMPTY, [5.0, 7.0, 6.0], [8.0], lost=3)
    assert row.each(10) == (1000.0, 500.0)
    assert row.cpu == (6.0, 8.0)
    result = idle.Result([idle.Table(idle.KINDS[0], 10, [row])], {"Envoy": "PyPI"})
    text = section(Measured(describe(), result))
    for words in ["that 10 idle connections", "500 requests a second", "| 1000 ", "| 6.0 ", "Envoy was not installed"]:
        assert words in text


def test_a_run_has_busy_connections_with_and_without_idle_ones() -> None:
    (kind,) = [kind for kind in idle.KINDS if kind.protocol == "echo"]
    plan = idle.Plan(connections=200, rounds=1, seconds=0.2, settle=0.0, kinds=(kind,))
    (table,) = idle.measure(plan, lambda _: None).tables
    ours = table.rows[0]
    assert ours.proxy == "hotswap"
    assert min(*ours.alone, *ours.beside) > 0
    assert (ours.errors, ours.lost) == (0, 0)
    assert ours.after.rss > 0
