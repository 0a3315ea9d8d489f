"""Ways to choose one of several endpoints. Each is a function of the endpoints' own numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from proxy.endpoint import Endpoint


def smooth_weighted(endpoints: Sequence[Endpoint]) -> Endpoint:
    """Interleave by weight: 5-1-1 gives a a b a c a a, not a a a a a b c.

    Every endpoint gains its weight, the richest is chosen and pays the total (the algorithm of
    nginx's upstream module). Equal weights make it a plain round robin.
    """
    total = 0
    best = endpoints[0]
    for endpoint in endpoints:
        endpoint.current += endpoint.weight
        total += endpoint.weight
        if endpoint.current > best.current:
            best = endpoint
    best.current -= total
    return best


def least_request(endpoints: Sequence[Endpoint]) -> Endpoint:
    """The fewest streams under way; among equals smooth round robin, so that idle clusters rotate."""
    fewest = min(endpoint.in_flight for endpoint in endpoints)
    return smooth_weighted([endpoint for endpoint in endpoints if endpoint.in_flight == fewest])


BALANCES: dict[str, Callable[[Sequence[Endpoint]], Endpoint]] = {
    "round_robin": smooth_weighted,
    "weighted": smooth_weighted,
    "least_request": least_request,
}
