"""What a request is made of: system calls by name, the kernel's time and the program's own, and functions.

Each is measured in a run of its own, since whoever looks takes time. Ours beside nginx, with the loads by which CPU is
compared elsewhere on the page.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from tests.bench import flame, h2load, http2, perf
from tests.bench.cpu import CONNECTIONS
from tests.bench.layers import Sampled, looked
from tests.bench.loadgen import LoadGenerator, Protocol, Tls
from tests.bench.machine import cpu_us, ticks
from tests.bench.perf import Stack
from tests.bench.proxies import Hall, Proxy
from tests.kit.companion import ROOT
from tests.kit.waiting import eventually

WARM = 0.25  # seconds of load before anything is looked at
KNOWN = 4000  # requests by which to find out how many h2load asks a second
QUIET = 0.02  # seconds without an answer
TOP = 6  # functions that are shown
SHOWN = 0.01  # of all samples, or a function is not worth a word

DOORS = ("entry_SYSCALL", "do_syscall", "x64_sys_call", "syscall_", "exit_to_user_mode")
"""How functions begin that are the same for all system calls."""
DOOR = "entry and exit"


class Workload(msgspec.Struct, frozen=True):
    """What clients do."""

    key: str  # the name of its pictures
    what: str
    protocol: Protocol = "http"
    tls: Tls | None = None
    http2: bool = False


WORKLOADS = (
    Workload("tcp", "TCP relay, 1 KB echo", "echo"),
    Workload("http1", "HTTP/1.1 keep-alive, 1 KB"),
    Workload("bolt", "Bolt, 1 call in flight", "bolt"),
    Workload("bolt16", "Bolt, 16 calls in flight", "bolt16"),
    Workload("tls", "TLS 1.3, HTTP/1.1", tls=Tls("1.3")),
    Workload("http2", "HTTP/2, plaintext", http2=True),
)


class Plan(msgspec.Struct):
    """How long each of the runs takes."""

    seconds: float = 2.0
    workloads: tuple[Workload, ...] = WORKLOADS


class Row(msgspec.Struct):
    """One proxy with one load."""

    workload: Workload
    proxy: str
    version: str
    own: float = 0.0  # microseconds of CPU a request that are the program's
    kernel: float = 0.0  # the same of the kernel, on behalf of the program
    calls: dict[str, float] = {}  # system calls a request
    samples: int = 0
    functions: list[tuple[str, float]] = []  # outside of the kernel, with their share of all samples
    calling: list[tuple[str, float]] = []  # ways into the kernel, with what is spent behind
    inside: list[tuple[str, float]] = []  # functions of the kernel
    python: list[tuple[str, float]] = []  # functions of Python, with what they call that is not in Python


class Result(msgspec.Struct):
    """Everything of one run."""

    rows: list[Row]
    missing: dict[str, str]
    flames: dict[str, str]
    """Pictures by file name."""


Run = Callable[[], int]
"""Puts the load on a proxy for a while; how many requests were answered."""


def measure(plan: Plan, say: Callable[[str], None]) -> Result:
    """Run it all."""
    result = Result([], {}, {})
    workloads = plan.workloads
    if not h2load.installed():
        result.missing["h2load"] = h2load.REMEDY
        workloads = tuple(one for one in workloads if not one.http2)
    if not (looks := perf.available()):
        result.missing["perf"] = perf.REMEDY
    for workload in workloads:
        with Hall(tls=workload.tls is not None, http2=workload.http2) as hall:
            for proxy in (hall.hotswap(), hall.nginx()):
                if proxy is None:
                    continue
                row = Row(workload, proxy.name, proxy.version)
                with under(workload, proxy, plan.seconds) as run:
                    _split(row, proxy, run)
                    if looks:
                        _dissect(row, proxy, run, result.flames)
                result.rows.append(row)
                say(f"{workload.what}, {proxy.name}: {row.own:.1f} us of its own, {row.kernel:.1f} of the kernel")
            result.missing |= hall.missing
            proxy = hall.hotswap(run=Sampled)
            with under(workload, proxy, plan.seconds) as run:
                seen = looked(proxy, run)
            next(row for row in result.rows if row.workload == workload).python = python_functions(seen)
    return result


@contextmanager
def under(workload: Workload, proxy: Proxy, seconds: float) -> Iterator[Run]:
    """Clients of a proxy; what is yielded puts them to work for some seconds."""
    if workload.http2:
        load = http2.LOADS[0]
        with h2load.upstream_of(proxy):
            rate, _ = h2load.ask(load, proxy, KNOWN)
            yield lambda: h2load.ask(load, proxy, max(KNOWN, int(rate * seconds)))[1]
        return
    upstream, port = proxy.upstreams[workload.protocol], proxy.ports[workload.protocol]
    with LoadGenerator(workload.protocol, upstream, port, CONNECTIONS, tls=workload.tls) as generator:
        _ask(generator, WARM)
        yield lambda: _ask(generator, seconds)


def _ask(load: LoadGenerator, seconds: float) -> int:
    """From quiet to quiet, so that nothing that is counted belongs to a request that is not."""
    load.reset()
    load.load(CONNECTIONS)
    time.sleep(seconds)
    load.load(0)

    def quiet() -> int:
        before = load.report().answers
        time.sleep(QUIET)
        return before if before == load.report().answers else 0

    answers: int = eventually(quiet, within=10, what="the last requests are answered")
    return answers


def _split(row: Row, proxy: Proxy, run: Run) -> None:
    """By the ticks of the kernel's clock, of which a run of this length has few."""
    spent, before = cpu_us(proxy.pid), ticks(proxy.pid)
    requests = run()
    spent, after = cpu_us(proxy.pid) - spent, ticks(proxy.pid)
    user, system = after[0] - before[0], after[1] - before[1]
    row.kernel = spent / requests * system / (user + system) if user + system else 0.0
    row.own = spent / requests - row.kernel


def _dissect(row: Row, proxy: Proxy, run: Run, flames: dict[str, str]) -> None:
    requests, calls = perf.system_calls(proxy.pid, run)
    row.calls = {name: count / requests for name, count in calls.items()}
    _, stacks = perf.samples(proxy.pid, run)
    row.samples = stacks.total()
    if stacks:  # ten times as many as ticks
        spent = row.own + row.kernel
        row.kernel = spent * kernel_share(stacks)
        row.own = spent - row.kernel
    row.functions, row.inside, row.calling = shares_of(stacks)
    flames[f"{row.workload.key}-{row.proxy}.svg"] = flame.picture(f"{row.proxy}, {row.workload.what}", stacks)


def shares_of(
    stacks: Counter[Stack],
) -> tuple[list[tuple[str, float]], list[tuple[str, float]], list[tuple[str, float]]]:
    """Functions outside of the kernel, those of the kernel, and ways into it; the most expensive of each."""
    functions: Counter[str] = Counter()
    inside: Counter[str] = Counter()
    ways: Counter[str] = Counter()
    for stack, count in stacks.items():
        innermost = stack[-1]
        if innermost.in_kernel:
            inside[innermost.name] += count
            ways[way_into_kernel(stack)] += count
        else:
            functions[name_of(innermost)] += count
    total = stacks.total()
    return _top(functions, total), _top(inside, total), _top(ways, total)


def kernel_share(stacks: Counter[Stack]) -> float:
    """How many of the samples are of the kernel."""
    return sum(count for stack, count in stacks.items() if stack[-1].in_kernel) / stacks.total()


def way_into_kernel(stack: Stack) -> str:
    """The system call that led there, or what else did, as far as the stack tells."""
    names = [frame.name for frame in stack if frame.in_kernel]
    if not names[0].startswith(DOORS):
        return "interrupt"
    behind = [name for name in names if not name.startswith(DOORS)]
    if not behind or "do_syscall_64" not in names or "exit_to_user_mode_loop" in names:
        return DOOR
    for prefix in ("__x64_sys_", "__do_sys_", "__se_sys_", "__sys_", "ksys_", "do_"):
        behind[0] = behind[0].removeprefix(prefix)
    return behind[0]


def name_of(frame: perf.Frame) -> str:
    """A function for people; one without a name by its file."""
    return f"({frame.file})" if frame.name == "[unknown]" else frame.name


def python_functions(seen: dict[tuple[str, str], int]) -> list[tuple[str, float]]:
    """Those with the most samples, by module and name."""
    functions: Counter[str] = Counter()
    for (file, function), count in seen.items():
        path = Path(file)
        module = path.relative_to(ROOT).with_suffix("") if path.is_relative_to(ROOT) else Path(path.stem)
        functions[f"{str(module).removeprefix('proxy/')}: {function}"] += count
    return _top(functions, sum(seen.values()))


def _top(counts: Counter[str], total: int) -> list[tuple[str, float]]:
    return [(name, count / total) for name, count in counts.most_common(TOP) if count >= SHOWN * total]
