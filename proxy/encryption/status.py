"""What people are shown of a cluster's encryption."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from proxy.cluster import Cluster
    from proxy.endpoint import Endpoint
    from proxy.sides import Upstream


def described(cluster: Cluster, now: float) -> dict[str, Any]:
    """What is wanted, and how far it is. For status."""
    wishes = cluster.switch.wishes
    order = wishes.current
    return {
        "wanted": order.wanted,
        "by": "order" if wishes.order is not None else "configuration",
        "strict": wishes.strict,
        "percent": order.percent,
        "share": wishes.share(now),
        "settled": cluster.switch.settled and not wishes.grows(now),
        "endpoints": [_endpoint(one, now) for one in cluster.every()],
    }


def _endpoint(endpoint: Endpoint, now: float) -> dict[str, Any]:
    wishes = endpoint.cluster.switch.wishes
    trouble = wishes.troubles.get(endpoint.name)
    about: dict[str, Any] = {
        "address": endpoint.name,
        "wanted": "tls" if wishes.wants(endpoint) else "plaintext",
        "announces": wishes.announces(endpoint),
        "plaintext": endpoint.mix.plain,
        "tls": endpoint.mix.secure,
        "succeeding": len(endpoint.mix.spares),
    }
    if trouble is None:
        return about
    left = max(trouble.not_before - now, 0.0)
    return {**about, "failures": trouble.failures, "reason": trouble.reason, "retry_in": round(left, 3)}


def with_connections(cluster: Cluster, upstreams: Iterable[Upstream], now: float) -> dict[str, Any]:
    """The same with what only the connections know: those that retire, and what they still have under way."""
    retiring = [one for one in upstreams if one.retires]
    relayed = [one for one in upstreams if not one.pooled and not one.connecting]
    return {
        "name": cluster.name,
        **described(cluster, now),
        "retiring": len(retiring),
        "retiring_in_flight": sum(one.in_flight() for one in retiring),
        "relayed": {
            "plaintext": sum(one.tls is None for one in relayed),
            "tls": sum(one.tls is not None for one in relayed),
        },
    }
