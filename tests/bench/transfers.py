"""The tables about large transfers, see large.py."""

from __future__ import annotations

from tests.bench import large
from tests.bench.tables import absent, table

MIB = 2**20

WAYS = {
    "tcp": "TCP relay",
    "length": "response with Content-Length",
    "chunked": "response in chunks of 32 KB",
    "upload": "upload with Content-Length",
}

TEXT = """\
CPU time of the proxy process for each megabyte (10^6 bytes) that it carries one way, user and system together, in
microseconds. All proxies are measured in turn in every round; "best" and the ratio are as above. The proxies have one
core, whoever sends and reads the other, which decides how many megabytes a second there are. Bodies are HTTP/1.1, and
nginx passes them on without files. haproxy is there twice, the second time with splice-request and splice-response,
which are off by default. All is plaintext."""

HELD_TEXT = """\
How much the memory of the process (RSS) grew at the most, meanwhile and with {slow} clients that read {rate} KB a
second each of what the upstream sends as fast as it may. Kernel memory, above all the buffers of sockets, is not in
it."""


def text(_: large.Result) -> str:
    """What the tables mean."""
    return TEXT


def body(result: large.Result) -> str:
    """The tables."""
    rows = []
    for comparison in result.comparisons:
        kind, connections = comparison.what.split()
        for row in comparison.rows:
            ratio = comparison.ratio(row)
            figures = [f"{row.best:.0f}", f"{row.median:.0f}", f"{ratio:.2f}" if ratio else "", f"{row.rate:.0f}"]
            rows.append([WAYS[kind], connections, f"{row.proxy} {row.version}", *figures, str(row.errors)])
    held = [
        [WAYS[row.kind], f"{row.proxy} {row.version}", f"{row.fast / MIB:.1f} MiB", f"{row.slow / MIB:.1f} MiB"]
        for row in result.held
    ]
    return "\n\n".join(
        [
            table(["", "connections", "proxy", "best", "median", "of nginx", "MB a second", "errors"], rows)
            + absent(result.missing),
            HELD_TEXT.format(slow=result.slow, rate=result.rate // 1000),
            table(["", "proxy", "as fast as it goes", "slow readers"], held),
        ]
    )
