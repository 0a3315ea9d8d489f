"""The tables about what a request is made of, see anatomy.py."""

from __future__ import annotations

from tests.bench import anatomy, perf
from tests.bench.tables import absent, table

FOLDER = "flames"  # of the pictures, beside the page

TEXT = """\
What a request is made of, for hotswap and nginx with 64 connections (HTTP/2: as above). First microseconds of CPU a
request, the program's own and the kernel's, and the system calls that the proxy makes for it, counted by the kernel's
tracepoints from quiet to quiet. 64 answers that come together cost one wait, so there are less waits than requests."""

FUNCTIONS_TEXT = """\
Then what was under way at {every} moments of each second of CPU, in a run that was looked at: functions outside of the
kernel, ways into the kernel with all that is spent behind them, and the kernel's functions that are most of it. Shares
are of all samples; the rest are many that are less than {shown:.0%} each or not among the first {top}. A file in
brackets stands for functions of it whose names were stripped; "interrupt" is what came between. From the same samples
is how the microseconds above are shared out."""

PYTHON_TEXT = """\
And ours by functions of Python, in a run in which it looked at itself, interpreted: shares of about three times the
time that what is compiled takes. What is called and is not in Python, the system among it, counts for its caller."""

FLAMES_TEXT = """\
The same samples as flame graphs, with what is common to all left out at the bottom: {links}."""


def body(result: anatomy.Result) -> str:
    """The tables."""
    parts = [table(["", "proxy", "own, us", "kernel, us", "system calls a request"], _requests(result))]
    if any(row.samples for row in result.rows):
        text = FUNCTIONS_TEXT.format(every=perf.EVERY, shown=anatomy.SHOWN, top=anatomy.TOP)
        titles = ["", "proxy", "samples", "its own functions", "ways into the kernel", "in the kernel"]
        parts += [text, table(titles, _functions(result))]
    if rows := [[row.workload.what, _shares(row.python)] for row in result.rows if row.python]:
        parts += [PYTHON_TEXT, table(["", "functions"], rows)]
    if result.flames:
        links = [f"[{name.removesuffix('.svg')}]({FOLDER}/{name})" for name in result.flames]
        parts.append(FLAMES_TEXT.format(links=", ".join(links)))
    return "\n\n".join(parts) + absent(result.missing)


def _requests(result: anatomy.Result) -> list[list[str]]:
    return [
        [
            row.workload.what,
            f"{row.proxy} {row.version}",
            f"{row.own:.1f}",
            f"{row.kernel:.1f}",
            ", ".join(f"{name} {count:.2f}" for name, count in _by_number(row.calls)),
        ]
        for row in result.rows
    ]


def _by_number(calls: dict[str, float]) -> list[tuple[str, float]]:
    """Most first; those that do not belong to requests are left out."""
    return [(name, count) for name, count in sorted(calls.items(), key=lambda one: -one[1]) if count >= 0.005]


def _functions(result: anatomy.Result) -> list[list[str]]:
    return [
        [row.workload.what, row.proxy, str(row.samples), *map(_shares, (row.functions, row.calling, row.inside))]
        for row in result.rows
        if row.samples
    ]


def _shares(shares: list[tuple[str, float]]) -> str:
    return ", ".join(f"`{name}` {share:.0%}" for name, share in shares)
