"""The tables about idle connections, see idle.py."""

from __future__ import annotations

from tests.bench import idle
from tests.bench.tables import absent, table

MIB = 2**20

TEXT = """\
User-space memory that {connections} idle connections take, divided by their number, in bytes: RSS and PSS, both sides
of the proxy together for the TCP relay; for HTTP/1.1 that of clients (upstream connections are few and pooled). RSS is
of the whole process with them. Then {rate:.0f} requests a second over {others} other connections: milliseconds of CPU
a second (10 are one percent of a core) without idle connections and beside them, medians of the rounds, in which all
proxies take turns. "Lost" are idle connections that were closed meanwhile. Kernel memory is not in it."""

TITLES = (
    *("idle", "proxy", "RSS each", "PSS each", "RSS", "RSS, busy"),
    *("CPU without", "CPU beside", "errors", "lost"),
)


def text(result: idle.Result) -> str:
    """What the tables mean."""
    connections = max((one.connections for one in result.tables), default=0)
    return TEXT.format(connections=connections, rate=idle.RATE, others=idle.OTHERS)


def body(result: idle.Result) -> str:
    """The tables."""
    return table(TITLES, [_row(one, row) for one in result.tables for row in one.rows]) + absent(result.missing)


def _row(one: idle.Table, row: idle.Row) -> list[str]:
    return [
        one.kind.what,
        f"{row.proxy} {row.version}",
        *(f"{figure:.0f}" for figure in row.each(one.connections)),
        *(f"{figure / MIB:.1f} MiB" for figure in (row.after.rss, row.busy.rss)),
        *(f"{figure:.1f}" for figure in row.cpu),
        str(row.errors),
        str(row.lost),
    ]
