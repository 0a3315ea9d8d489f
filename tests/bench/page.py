"""The tables, for the terminal and for docs/benchmarks.md."""

from __future__ import annotations

import msgspec

from tests.bench import (
    anatomy,
    containers,
    costs,
    cpu,
    dissection,
    holdings,
    hops,
    http2,
    idle,
    large,
    latency,
    layers,
    memory,
    metrics,
    reload,
    start,
    starts,
    states,
    tls,
    transfers,
    upgrade,
)
from tests.bench.counting import OPERATIONS, SERIES
from tests.bench.cpu import best
from tests.bench.machine import Machine
from tests.bench.tables import SPEAKS, absent, pair, table
from tests.bench.upgrade import median_and_worst

HEADING = "## "

INTRODUCTION = """\
# Benchmarks

<!-- Written by `make bench`. -->

No figure here is a promise, and no test fails on one: `make bench` measures again on your machine. How it is done
stands in `tests/bench`; the load generator checks every byte of every answer. All proxies run on loopback with one
worker thread; load generator and upstream are one process on the other core.

Sections are measured one by one, and each ends with its date, machine and commit. A commit that the history does not
have was a step on the way to the next one that it has.
"""

CPU_TEXT = """\
CPU time of the proxy process per request, user and system together, in microseconds. 64 connections, one request in
flight on each if nothing else is said. All proxies are measured in turn in every round; "best" is the mean of the best
fifth of the rounds, which is what the program needs when nobody disturbs it. The ratio refers to nginx's best in the
same run. With Bolt the others relay bytes, 64 connections onto 64, and know nothing of calls."""

HTTP2_TEXT = """\
CPU time of the proxy process per request, in microseconds, with HTTP/2 to clients and HTTP/1.1 to the endpoint. h2load
asks for 1 KB on 8 connections, with 20 streams under way on each: in plaintext by prior knowledge, over TLS 1.3 by
ALPN. Its requests are all alike, of which ours remembers what they mean; with a thousand paths in turn it cannot.
Rounds, "best" and the ratio are as above."""

SPLITS_TEXT = """\
Where it goes, with plaintext: what the kernel does, and what the program does by itself. The kernel has little to do
for ours, because all that a batch of events has to say to a client goes by one write."""

LAYERS_TEXT = """\
Ours by layers, with requests that are all alike, in a run that looked at itself and was interpreted for it, so it took
about three times as long as what is compiled: the shares tell where work is, not what it costs. What is called and is
not in Python counts for its caller. No layer stands out: a stream is a message of HTTP/1.1 for the sake of everything
between the two sides, and passes each layer there and back. Where requests differ, each field is also decoded, checked
and written again."""

COSTS_TEXT = """\
Microseconds of CPU that each feature adds to a request, alone, over the same proxy without it, measured in turn in the
same rounds; both are the mean of their best fifth. Connections live on, so what is paid once for each does not show:
the row SO_MARK, which adds nothing to a request, tells how much noise there is."""

UPGRADE_TEXT = """\
Milliseconds, median / worst of the upgrades in a row. Downtime is from the last I/O of the old generation to
the first of the new one. Stall is what a client sees: the longest gap between two answers on any busy connection,
less the same figure of a window without an upgrade (so it can be below zero); p99 is the same for the 99th percentile
of the busy connections. Slowest is the longest wait for an answer in the whole window, in which the new generation also
starts and takes a core for a moment."""

SPENT_TEXT = """\
What the machine pays, median / worst: CPU of both generations, user and system, from the order to the end of the old
one, less what serving took meanwhile; that of the command; the memory (PSS) of the one generation that serves, and the
most that both had together."""

CONTAINERS_TEXT = """\
The next container of a pod, under load of every kind: seconds from its start until the owner lives in it, and
milliseconds of downtime, both median / worst of {takeovers} takeovers in a row. Such a container is made of namespaces
alone and its files are in the page cache; "empty" is one that starts, does nothing and ends, which a container
runtime does more slowly. Failed are requests and connections of all clients."""

MEMORY_TEXT = """\
Private memory of the proxy process per idle connection, in bytes: downstream and upstream side together
for TCP; for HTTP/1.1 the downstream connection (upstream ones are few and pooled). It is what these connections add
when a thousand others are there already. Kernel memory is not in it."""

TLS_TEXT = """\
The same with every proxy terminating TLS, plain towards its upstream: an ECDSA certificate of P-256, AES-128-GCM,
X25519; load and measure as above, "a second" as far as the clients could ask. A full handshake is a TCP connection, its
handshake and its end, without a request; a resumed one the same with a ticket of an earlier one. Tickets are not
carried over by an upgrade, so who reconnects after it pays for a full handshake once."""

STATES_TEXT = """\
What an upgrade copies of an idle HTTP/1.1 connection: bytes, and microseconds of the best round, without the system's
part of it."""

RELOAD_TEXT = """\
Connections that were open and idle before, and still carry a request three seconds later. "Old left" counts serving
processes of before that are still there, because they hold what could not be handed over."""

METRICS_TEXT = """\
What a program pays that counts with `shm_metrics`, beside prometheus_client. Nanoseconds of CPU a call, with the metric
looked up before except in the last column, and milliseconds of CPU a scrape, text and all: of {workers} processes with
{series} series each, and again once {deaths} of them were killed and replaced, one after the other. What is left behind
is files, or shared memory; the parent tells prometheus_client of each death as its manual says. Plain prometheus_client
knows its own process only, and a scrape of it is of one."""


TITLES = {
    "cpu": "CPU per request",
    "latency": "Latency",
    "large": "Large transfers",
    "http2": "HTTP/2",
    "anatomy": "What a request is made of",
    "costs": "What features cost",
    "tls": "TLS",
    "upgrade": "Upgrade",
    "containers": "Containers",
    "start": "Cold start",
    "reload": "Who keeps idle connections",
    "memory": "Memory per idle connection",
    "idle": "Idle connections",
    "metrics": "Metrics",
}
"""Parts in the order of the page."""


Result = (
    cpu.Result
    | latency.Result
    | large.Result
    | http2.Result
    | anatomy.Result
    | costs.Result
    | tls.Result
    | upgrade.Result
    | containers.Result
    | start.Result
    | reload.Result
    | memory.Result
    | idle.Result
    | metrics.Result
)


class Measured(msgspec.Struct):
    """One part, with the circumstances."""

    machine: Machine
    result: Result


def updated(page: str, measured: Measured) -> str:
    """The page with this part measured anew; other parts stay as they are."""
    sections = [HEADING + text for text in page.split("\n" + HEADING)[1:]]
    parts = {text.partition("\n")[0].removeprefix(HEADING): text for text in [*sections, section(measured)]}
    return "\n".join([INTRODUCTION, *(parts[title] for title in TITLES.values() if title in parts)])


def section(measured: Measured) -> str:
    """One part with its heading."""
    result = measured.result
    if isinstance(result, cpu.Result):
        part, text, body = "cpu", CPU_TEXT, _cpu(result)
    elif isinstance(result, latency.Result):
        part, text, body = "latency", hops.text(result), hops.body(result)
    elif isinstance(result, large.Result):
        part, text, body = "large", transfers.text(result), transfers.body(result)
    elif isinstance(result, http2.Result):
        part, text, body = "http2", HTTP2_TEXT, _http2(result)
    elif isinstance(result, anatomy.Result):
        part, text, body = "anatomy", dissection.TEXT, dissection.body(result)
    elif isinstance(result, costs.Result):
        part, text, body = "costs", COSTS_TEXT, _costs(result)
    elif isinstance(result, tls.Result):
        part, text, body = "tls", TLS_TEXT, _tls(result)
    elif isinstance(result, upgrade.Result):
        part, text, body = "upgrade", UPGRADE_TEXT, _upgrade(result)
    elif isinstance(result, containers.Result):
        text = CONTAINERS_TEXT.format(takeovers=len(result.rows[0].seconds))
        part, body = "containers", _containers(result)
    elif isinstance(result, start.Result):
        part, text, body = "start", starts.text(result), starts.body(result)
    elif isinstance(result, reload.Result):
        part, text, body = "reload", RELOAD_TEXT, _reload(result)
    elif isinstance(result, idle.Result):
        part, text, body = "idle", holdings.text(result), holdings.body(result)
    elif isinstance(result, metrics.Result):
        text = METRICS_TEXT.format(workers=result.workers, series=SERIES, deaths=result.deaths)
        part, body = "metrics", _metrics(result)
    else:
        part, text, body = "memory", MEMORY_TEXT, _memory(result)
    return f"{HEADING}{TITLES[part]}\n\n{text}\n\n{body}\n\nMeasured {measured.machine}.\n"


def _containers(result: containers.Result) -> str:
    rows = []
    for row in result.rows:
        figures = [(row.seconds, 2), (row.downtime, 1), (row.empty, 2)]
        texts = [
            "{:.{digits}f} / {:.{digits}f}".format(*median_and_worst(one), digits=digits) for one, digits in figures
        ]
        rows.append(["TLS" if row.tls else "plain", str(row.connections), *texts, str(row.failures)])
    return table(["", "connections", "owner after, s", "downtime, ms", "empty, s", "failed"], rows)


def _cpu(result: cpu.Result) -> str:
    return _comparisons(result.comparisons) + absent(result.missing)


def _comparisons(comparisons: list[cpu.Comparison]) -> str:
    rows = []
    for comparison in comparisons:
        for row in comparison.rows:
            ratio = comparison.ratio(row)
            rows.append(
                [
                    SPEAKS.get(comparison.what, comparison.what),
                    f"{row.proxy} {row.version}",
                    f"{row.best:.1f}",
                    f"{row.median:.1f}",
                    f"{ratio:.2f}" if ratio else "",
                    f"{row.rate:.0f}",
                    str(row.errors),
                ]
            )
    return table(["", "proxy", "best", "median", "of nginx", "a second", "errors"], rows)


def _http2(result: http2.Result) -> str:
    parts = [_comparisons(result.comparisons) + absent(result.missing)]
    if result.splits:
        rows = [[one.proxy, f"{one.own:.1f}", f"{one.kernel:.1f}"] for one in result.splits]
        parts += [SPLITS_TEXT, table(["", "its own", "the kernel"], rows)]
    if result.profile is not None:
        parts += [LAYERS_TEXT, _layers(result.profile)]
    return "\n\n".join(parts)


def _layers(profile: layers.Result) -> str:
    rows = [
        [
            layer.name,
            f"{layer.share * profile.microseconds:.1f}",
            f"{layer.share:.0%}",
            ", ".join(f"`{name}` {share:.0%}" for name, share in layer.top if share >= 0.01),  # of all
        ]
        for layer in profile.layers
    ]
    return table(["", "us", "of all", "most of it in"], rows)


def _tls(result: tls.Result) -> str:
    return "\n\n".join(
        [
            _comparisons(result.comparisons) + absent(result.missing),
            f"### Upgrade\n\n{_upgrade(result.upgrade)}",
            f"### Copies\n\n{STATES_TEXT}\n\n{_states(result.states)}",
            f"### Who keeps idle connections\n\n{_reload(result.reload)}",
            f"### Memory per idle connection\n\n{_memory(result.memory)}",
        ]
    )


def _states(result: states.Result) -> str:
    rows = [[row.client, f"{row.size}", f"{row.save:.1f}", f"{row.restore:.1f}"] for row in result.rows]
    return table(["client", "bytes", "save", "restore"], rows)


def _costs(result: costs.Result) -> str:
    rows = []
    bare: dict[str, float] = {}
    for cost in result.costs:
        if cost.protocol not in bare:
            bare[cost.protocol] = cost.bare.best
            rows.append([SPEAKS[cost.protocol], costs.BARE, f"{cost.bare.best:.1f}", "", str(cost.bare.errors)])
        rows.append(["", cost.feature, f"{cost.row.best:.1f}", f"{cost.added:+.1f}", str(cost.row.errors)])
    return table(["", "feature", "best", "adds", "errors"], rows)


def _upgrade(result: upgrade.Result) -> str:
    rows = [
        [
            f"{row.connections}",
            f"{row.busy}",
            f"{row.rate:.0f}",
            pair(row.downtime),
            pair(row.stall_p99),
            pair(row.stall),
            pair(row.slowest),
            f"{median_and_worst(row.seconds)[0]:.1f} s",
            f"{row.lost}",
            f"{row.failed} of {len(row.seconds)}",
        ]
        for row in result.rows
    ]
    titles = ["live", "busy", "requests/s", "downtime", "stall p99", "stall", "slowest", "command", "lost", "failed"]
    phases = sorted({phase for row in result.rows for phase in row.phases}, key=lambda name: _order(result, name))
    by_phase = [
        [f"{row.connections}", f"{row.busy}", *(pair(row.phases.get(phase, [])) for phase in phases)]
        for row in result.rows
    ]
    spent = [
        [
            f"{row.connections}",
            f"{row.busy}",
            pair([1000 * seconds for seconds in row.cpu], digits=0),
            pair([1000 * seconds for seconds in row.command], digits=0),
            pair([size / 2**20 for size in row.before]),
            pair([size / 2**20 for size in row.peak]),
        ]
        for row in result.rows
    ]
    return (
        f"{table(titles, rows)}\n\nThe downtime by phase:\n\n{table(['live', 'busy', *phases], by_phase)}\n\n"
        f"{SPENT_TEXT}\n\n{table(['live', 'busy', 'CPU, ms', 'command, ms', 'one, MiB', 'both, MiB'], spent)}"
    )


def _order(result: upgrade.Result, phase: str) -> int:
    for row in result.rows:
        if phase in row.phases:
            return list(row.phases).index(phase)
    return 0


def _memory(result: memory.Result) -> str:
    rows = [
        [SPEAKS[row.protocol], row.proxy, f"{row.connections}", f"{row.each:.0f}", f"{row.before / 2**20:.1f} MiB"]
        for row in sorted(result.rows, key=lambda row: row.protocol)
    ]
    return table(["", "proxy", "connections", "bytes each", "process before"], rows)


def _reload(result: reload.Result) -> str:
    rows = [
        [SPEAKS[row.protocol], f"{row.proxy} {row.version}", row.how, f"{row.kept} of {row.connections}", f"{row.left}"]
        for row in result.rows
    ]
    return table(["", "proxy", "replaced by", "kept", "old left"], rows)


def _metrics(result: metrics.Result) -> str:
    calls = [[row.name, row.version, *(f"{best(row.calls[what]):.0f}" for what in OPERATIONS)] for row in result.rows]
    scrapes = [
        [
            row.name,
            f"{best(row.scrapes):.1f}",
            f"{best(row.scrapes_after):.1f}" if row.left else "",
            *([f"{row.left.files}", f"{row.left.size / 1024:.0f} KiB"] if row.left else ["", ""]),
        ]
        for row in result.rows
    ]
    titles = ["", f"{result.workers} workers", f"{result.deaths} deaths later", "files", "size"]
    missing = "".join(f"\n\n{name} could not be had: {problem}." for name, problem in result.missing.items())
    return f"{table(['', 'version', *OPERATIONS.values()], calls)}\n\n{table(titles, scrapes)}{missing}"
