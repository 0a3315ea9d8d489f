"""What becomes of idle connections when a proxy is replaced or reloaded, its configuration unchanged."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

import msgspec

from tests.bench.loadgen import LoadGenerator, Protocol, Tls
from tests.bench.proxies import Hall, Proxy

SETTLE = 3.0  # seconds after the order, for old processes to close what they will close


class Plan(msgspec.Struct):
    """How many to open."""

    connections: int = 100
    tls: Tls | None = None


class Row(msgspec.Struct):
    """One way to replace one proxy."""

    proxy: str
    version: str
    how: str
    protocol: Protocol
    connections: int
    kept: int
    left: int  # processes that were there before and still are, which a reload means to replace


class Result(msgspec.Struct):
    """Everything of one run."""

    rows: list[Row]


def measure(plan: Plan, say: Callable[[str], None]) -> Result:
    """Run it all."""
    rows = []
    for protocol in ("http", "echo"):
        with Hall(tls=plan.tls is not None) as hall:
            ways = [
                (hall.hotswap(), "hotswap upgrade", _upgrade),
                (hall.nginx(reloads=True), "nginx -s reload", _signal(signal.SIGHUP)),
                (hall.haproxy(reloads=True), "reload (SIGUSR2 to the master)", _signal(signal.SIGUSR2)),
            ]
            for proxy, how, order in ways:
                if proxy is not None:
                    rows.append(_way(hall, proxy, protocol, plan, how, order))
                    say(f"{how}, {protocol}: {rows[-1].kept} of {plan.connections} kept")
    return Result(rows)


def _way(hall: Hall, proxy: Proxy, protocol: Protocol, plan: Plan, how: str, order: Callable[[Proxy], None]) -> Row:
    upstream, port = proxy.upstreams[protocol], proxy.ports[protocol]
    with LoadGenerator(protocol, upstream, port, plan.connections, tls=plan.tls) as load:
        before = set(hall.workers(proxy))
        order(proxy)
        time.sleep(SETTLE)
        left = len(before & set(hall.workers(proxy)))
        kept = plan.connections - load.sweep()
    return Row(proxy.name, proxy.version, how, protocol, plan.connections, kept, left)


def _upgrade(proxy: Proxy) -> None:
    assert proxy.instance is not None
    upgrade = proxy.instance.upgrade()
    assert upgrade.exit_code == 0, upgrade.message


def _signal(number: signal.Signals) -> Callable[[Proxy], None]:
    def order(proxy: Proxy) -> None:
        os.kill(proxy.pid, number)

    return order
