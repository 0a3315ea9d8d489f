"""The tables about latency, see latency.py."""

from __future__ import annotations

import statistics
from textwrap import fill

from tests.bench import latency
from tests.bench.tables import SPEAKS, absent, table

TEXT = """\
What a hop through a proxy adds to the wait for an answer, in microseconds: the 50th and the 99th percentile, medians of
{rounds} rounds, and the difference to the same clients asking the upstream itself in the same rounds. Requests are due
at a fixed rate, half of what the slower one of hotswap and nginx sustains, and wait from the moment they are due, so a
pause of the proxy counts for all that should have been asked meanwhile. A proxy that cannot bear this rate is left out,
and all are compared once more at half of what it sustains. 64 connections; load generator and upstream have one core to
themselves, the proxies the other."""

OTHERS = """\
Of MOSN, 0.2 ms a hop is told from production at Ant Group. It was not measured here, and of other machines it says what
is usual and no more. It would be, of what hotswap adds to p50, {comparisons}."""

WIDTH = 120  # letters of a line
TOLD = 200.0  # microseconds that a hop by MOSN adds


def text(result: latency.Result) -> str:
    """What the tables mean."""
    rounds = max((len(row.p50) for one in result.tables for row in one.rows), default=0)
    return TEXT.format(rounds=rounds)


def body(result: latency.Result) -> str:
    """The tables."""
    figures = table(
        ["", "a second", "proxy", "p50", "p99", "adds to p50", "adds to p99", "sustains", "errors"],
        [_row(one, row) for one in result.tables for row in one.rows],
    )
    comparisons = [_told(one, row) for one in result.tables for row in one.rows if row.proxy == "hotswap"]
    others = "\n\n" + fill(OTHERS.format(comparisons="; ".join(comparisons)), WIDTH) if comparisons else ""
    return figures + absent(result.missing) + others


def _told(one: latency.Table, row: latency.Row) -> str:
    p50, _ = one.added(row)
    what = SPEAKS[one.protocol].partition(",")[0]
    return f"{TOLD / max(1.0, p50):.1f} times as much ({what}, {one.rate:.0f} a second)"


def _row(one: latency.Table, row: latency.Row) -> list[str]:
    p50, p99 = (f"{statistics.median(figures):.0f}" for figures in (row.p50, row.p99))
    where = [SPEAKS[one.protocol], f"{one.rate:.0f}"]
    if row is one.rows[0]:
        return [*where, row.proxy, p50, p99, "", "", "", str(row.errors)]
    adds = [f"{figure:+.0f}" for figure in one.added(row)]
    return [*where, f"{row.proxy} {row.version}", p50, p99, *adds, f"{one.sustained[row.proxy]:.0f}", str(row.errors)]
