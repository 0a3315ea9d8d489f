"""That large transfers are carried whole and counted; never how fast."""

from __future__ import annotations

import mmap
import os

import pytest

from tests.bench import large
from tests.bench.machine import describe, forget_peak, memory, peak
from tests.bench.page import Measured, section
from tests.bench.proxies import Hall

PLAN = large.Plan(rounds=1, size=4 * large.MEGABYTE, connections=(2,), slow=2, rate=100_000, seconds=0.2, settle=0.0)


def test_the_peak_is_that_since_it_was_forgotten() -> None:
    before = memory(os.getpid()).rss
    block = mmap.mmap(-1, 32 << 20)  # not what this process has and does not use
    block[:: mmap.PAGESIZE] = bytes(len(block) // mmap.PAGESIZE)
    forget_peak(os.getpid())
    block.close()
    assert peak(os.getpid()) >= before + (30 << 20)
    forget_peak(os.getpid())
    assert peak(os.getpid()) < before + (16 << 20)


def test_every_way_is_carried_whole_and_stands_on_the_page() -> None:
    result = large.measure(PLAN, lambda _: None)
    assert [one.what for one in result.comparisons] == ["tcp 2", "length 2", "chunked 2", "upload 2"]
    for comparison in result.comparisons:
        ours = comparison.rows[0]
        assert (ours.proxy, ours.errors) == ("hotswap", 0)
        assert ours.best > 0
    assert {held.kind for held in result.held if held.proxy == "hotswap"} == {"tcp", "length"}
    text = section(Measured(describe(), result))
    for words in ["## Large transfers", "upload with Content-Length", "2 clients that read 100 KB"]:
        assert words in text


@pytest.mark.parametrize("kind", ["tcp", "length", "chunked"])
def test_an_upgrade_in_the_middle_loses_no_byte(kind: large.Kind) -> None:
    """Half of the clients' bytes wait in the proxy or the kernel, the rest is on its way."""
    with Hall() as hall:
        proxy = hall.hotswap()
        with large.Bulk(proxy) as bulk:
            assert proxy.instance is not None
            size = 20 * large.MEGABYTE
            bulk.begin(kind, 4, size, 10 * large.MEGABYTE)
            upgrade = proxy.instance.upgrade("--require-all")
            assert upgrade.exit_code == 0, upgrade.text
            assert not bulk.is_done
            done = bulk.done()
    assert (done.errors, done.bytes) == (0, 4 * size)


def test_a_transfer_that_is_stopped_tells_how_far_it_came() -> None:
    with Hall() as hall, large.Bulk(hall.hotswap()) as bulk:
        bulk.begin("length", 1, large.MEGABYTE)
        assert bulk.done().bytes == large.MEGABYTE
        bulk.begin("tcp", 1, 100 * large.MEGABYTE, 1000)
        assert bulk.stop().bytes < 100 * large.MEGABYTE
