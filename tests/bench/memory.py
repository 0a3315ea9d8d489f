"""User-space memory per idle proxied connection, both sides of it together."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from tests.bench.loadgen import LoadGenerator, Protocol, Tls
from tests.bench.machine import memory
from tests.bench.proxies import Hall

WARM = 1000  # connections that are there already: they took what the allocator had left over from the start


class Plan(msgspec.Struct):
    """How many to open."""

    connections: int = 5000
    protocols: tuple[Protocol, ...] = ("echo", "http")
    tls: Tls | None = None


class Row(msgspec.Struct):
    """One proxy with one protocol."""

    proxy: str
    protocol: Protocol
    connections: int
    before: int  # bytes of private memory
    after: int

    @property
    def each(self) -> float:
        """Bytes a connection."""
        return (self.after - self.before) / self.connections


class Result(msgspec.Struct):
    """Everything of one run."""

    rows: list[Row]


def measure(plan: Plan, say: Callable[[str], None]) -> Result:
    """Run it all."""
    rows = []
    for protocol in plan.protocols:
        with Hall(tls=plan.tls is not None) as hall:  # fresh processes, with nothing freed that others could fill
            for proxy in hall.everybody():
                upstream, port = proxy.upstreams[protocol], proxy.ports[protocol]
                with LoadGenerator(protocol, upstream, port, WARM, tls=plan.tls):
                    before = memory(proxy.pid).private
                    with LoadGenerator(protocol, None, port, plan.connections, tls=plan.tls):
                        row = Row(proxy.name, protocol, plan.connections, before, memory(proxy.pid).private)
                rows.append(row)
                say(f"{proxy.name}, {protocol}: {row.each:.0f} bytes a connection")
    return Result(rows)
