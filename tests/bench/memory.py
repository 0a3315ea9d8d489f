"""User-space memory per idle proxied connection, both sides of it together."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from tests.bench.loadgen import LoadGenerator, Protocol
from tests.bench.machine import user_memory
from tests.bench.proxies import Hall

WARM = 64  # connections opened before, so that what a first connection allocates once does not count


class Plan(msgspec.Struct):
    """How many to open."""

    connections: int = 5000
    protocols: tuple[Protocol, ...] = ("echo", "http")


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
    with Hall() as hall:
        for proxy in hall.everybody():
            for protocol in plan.protocols:
                upstream, port = proxy.upstreams[protocol], proxy.ports[protocol]
                # The warm ones stay connected: what they leave behind must not be taken by the ones that count.
                with LoadGenerator(protocol, upstream, port, WARM):
                    pass
                before = user_memory(proxy.pid)
                with LoadGenerator(protocol, upstream, port, plan.connections):
                    row = Row(proxy.name, protocol, plan.connections, before, user_memory(proxy.pid))
                rows.append(row)
                say(f"{proxy.name}, {protocol}: {row.each:.0f} bytes a connection")
    return Result(rows)
