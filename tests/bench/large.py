"""What large transfers cost: CPU for each megabyte that a proxy carries, and the memory it needs meanwhile.

One way, over few connections, as fast as it goes; then to many clients that read slowly, so that whatever a proxy reads
ahead of them stays with it. See bulk.c for who sends and who reads.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Literal, get_args

import msgspec

from tests.bench.cpu import Comparison, Row
from tests.bench.machine import cpu_us, forget_peak, memory, peak, pin
from tests.bench.program import Program, compiled
from tests.bench.proxies import Hall, Proxy

SOURCE = Path(__file__).parent / "bulk.c"
MEGABYTE = 1_000_000  # bytes
PATIENCE = 60.0  # seconds for a transfer
OUR_CORE, THEIR_CORE = 0, 1  # of the proxies, and of whoever sends and reads

Kind = Literal["tcp", "length", "chunked", "upload"]
KINDS: tuple[Kind, ...] = get_args(Kind)
SLOW_KINDS: tuple[Kind, ...] = ("tcp", "length")


class Plan(msgspec.Struct):
    """How much to carry, and how often."""

    rounds: int = 6
    size: int = 256 * MEGABYTE  # of a window, over all its connections
    connections: tuple[int, ...] = (1, 8)
    kinds: tuple[Kind, ...] = KINDS
    slow: int = 64  # clients that read slowly
    rate: int = 200_000  # bytes a second that each of them reads
    seconds: float = 2.0  # that they do so
    settle: float = 1.0  # seconds until a fresh proxy has done what it leaves for after its start


class Held(msgspec.Struct):
    """Memory of one proxy, in bytes: how much its RSS grew at the most."""

    proxy: str
    version: str
    kind: Kind
    fast: int  # over the most connections of the plan, as fast as it goes
    slow: int  # to slow readers


class Result(msgspec.Struct):
    """Everything of one run. Comparisons are in microseconds a megabyte, and megabytes a second."""

    comparisons: list[Comparison]
    held: list[Held]
    slow: int
    rate: int
    missing: dict[str, str]


class Done(msgspec.Struct):
    """One transfer, see bulk.c."""

    seconds: float
    bytes: int
    errors: int


class Bulk(Program):
    """The clients of a proxy and its upstream."""

    def __init__(self, proxy: Proxy) -> None:
        ways = {"tcp": proxy.upstreams["echo"], "http": proxy.upstreams["http"]}
        ways |= {"to-tcp": proxy.ports["echo"], "to-http": proxy.ports["http"]}
        argv = [compiled("bulk", [SOURCE]), *(word for way, port in ways.items() for word in (f"--{way}", str(port)))]
        super().__init__(argv)
        pin(self.pid, THEIR_CORE)
        self.expect("listening")

    def begin(self, kind: Kind, connections: int, size: int, rate: int = 0) -> None:
        """Carry so many bytes over each connection. `rate`: bytes a second that a client reads, 0 for all it can."""
        self.say(f"{kind} {connections} {size} {rate}")

    def done(self) -> Done:
        """When all is carried."""
        return msgspec.convert(self.expect("done"), Done)

    @property
    def is_done(self) -> bool:
        """`done` would not wait."""
        return self.spoke

    def stop(self) -> Done:
        """How far it is by now; it goes no further. Nothing can be begun after this."""
        self.say("stop")
        return self.done()


def measure(plan: Plan, say: Callable[[str], None]) -> Result:
    """Run it all."""
    with Hall() as hall:
        proxies = _everybody(hall)
        for proxy in proxies:
            pin(proxy.pid, OUR_CORE)
        time.sleep(plan.settle)
        comparisons = _comparisons(proxies, plan, say)
        missing = hall.missing
    held: list[Held] = []
    for kind in SLOW_KINDS:
        with Hall() as hall:  # fresh processes, with nothing freed that could be used again
            held += [_held(proxy, kind, plan, say) for proxy in _everybody(hall)]
    return Result(comparisons, held, plan.slow, plan.rate, missing)


def _everybody(hall: Hall) -> list[Proxy]:
    """haproxy also with splice(2), which it has to be told to use."""
    splicing = hall.haproxy(splices=True)
    return hall.everybody() + ([splicing] if splicing is not None else [])


def _comparisons(proxies: list[Proxy], plan: Plan, say: Callable[[str], None]) -> list[Comparison]:
    found = []
    with ExitStack() as exits:
        stands = [(proxy, exits.enter_context(Bulk(proxy))) for proxy in proxies]
        for kind in plan.kinds:
            for connections in plan.connections:
                rows = {proxy.name: Row(proxy.name, proxy.version) for proxy in proxies}
                for number in range(plan.rounds):
                    first = number % len(stands)  # nobody always comes after the same one
                    for proxy, bulk in [*stands[first:], *stands[:first]]:
                        _window(proxy, bulk, rows[proxy.name], (kind, connections, plan.size // connections))
                found.append(Comparison(f"{kind} {connections}", list(rows.values())))
                figures = ", ".join(f"{row.proxy} {row.best:.0f}" for row in rows.values())
                say(f"{kind}, connections: {connections}: {figures} us/MB")
    return found


def _window(proxy: Proxy, bulk: Bulk, row: Row, load: tuple[Kind, int, int]) -> None:
    """One transfer; add its figures."""
    before = cpu_us(proxy.pid)
    bulk.begin(*load)
    done = bulk.done()
    megabytes = done.bytes / MEGABYTE
    row.rounds.append((cpu_us(proxy.pid) - before) / megabytes)
    row.rates.append(megabytes / done.seconds)
    row.errors += done.errors


def _held(proxy: Proxy, kind: Kind, plan: Plan, say: Callable[[str], None]) -> Held:
    """How much the memory of a fresh proxy grows."""
    found = []
    with Bulk(proxy) as bulk:
        bulk.begin(kind, 1, MEGABYTE)  # what it needs once
        bulk.done()
        time.sleep(plan.settle)
        for connections, rate in ((max(plan.connections), 0), (plan.slow, plan.rate)):
            before = memory(proxy.pid).rss
            forget_peak(proxy.pid)
            bulk.begin(kind, connections, plan.size // max(plan.connections), rate)
            if rate:
                time.sleep(plan.seconds)
                done = bulk.stop()
            else:
                done = bulk.done()
            assert not done.errors, f"{proxy.name} spoiled a transfer"
            found.append(max(0, peak(proxy.pid) - before))
    held = Held(proxy.name, proxy.version, kind, *found)
    say(f"{kind}, {proxy.name}: RSS grew by {held.fast / 2**20:.1f} MiB, with slow readers {held.slow / 2**20:.1f}")
    return held
