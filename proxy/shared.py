"""The state that no connection owns: made from a server, and given back to the next one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from proxy.filters.chain import load_all, save_all
from proxy.split import load_splits, save_splits
from proxy.state import SharedState
from proxy.timers import deadline, remaining

if TYPE_CHECKING:
    from proxy.server import ProxyServer


def prepare() -> None:
    """Have the types looked at that the state is decoded into: 2 ms, which the freeze is not to pay."""
    msgspec.msgpack.Decoder(SharedState)


def save_shared(server: ProxyServer, now: float) -> bytes:
    """See `proxy.state.SharedState`."""
    clusters = server.clusters.values()
    balance = {cluster.name: {one.name: one.current for one in cluster.endpoints} for cluster in clusters}
    counters = {"accepted": server.reactor.acceptor.accepted}
    reactor, left = server.reactor, remaining(server.reactor.stop_at, now)
    watches = {one.name: one.healing.save(now) for one in clusters if one.healing is not None}
    own = (reactor.next_serial, balance, counters, left, reactor.draining, server.app.save(), watches)
    there = server.listeners.values()
    kept = (save_all(there, now), save_splits(there), server.names.save(now))
    switches = {one.name: one.switch.save(now) for one in clusters if one.switch.concerned}
    resting = {
        one.name: {endpoint.name: endpoint.rests_until - now for endpoint in found}
        for one in clusters
        if (found := [endpoint for endpoint in one.endpoints if endpoint.rests_until > now])
    }
    return msgspec.msgpack.encode(SharedState(*own, *kept, switches, resting))


def restore_shared(server: ProxyServer, state: bytes, now: float) -> None:
    """The counterpart. Names come first: they make the endpoints of which the rest tells."""
    shared = msgspec.msgpack.decode(state, type=SharedState)
    server.reactor.next_serial = max(server.reactor.next_serial, shared.next_serial)
    server.names.load(shared.names, now)
    for cluster in server.clusters.values():
        numbers = shared.balance.get(cluster.name, {})
        resting = shared.resting.get(cluster.name, {})
        for endpoint in cluster.endpoints:
            endpoint.current = numbers.get(endpoint.name, 0)
            endpoint.rests_until = now + resting.get(endpoint.name, 0.0)
        if cluster.healing is not None:
            cluster.healing.load(shared.watches.get(cluster.name, {}), now)
        if cluster.name in shared.switches:
            cluster.switch.load(shared.switches[cluster.name], now)
    load_all(server.listeners.values(), shared.filters, now)
    load_splits(server.listeners.values(), shared.splits)
    server.reactor.acceptor.accepted = shared.counters.get("accepted", 0)
    server.reactor.stop_at = deadline(shared.drain_left, now)
    server.reactor.draining = shared.draining
    server.app.load(shared.app)
