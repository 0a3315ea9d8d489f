"""Which endpoint is chosen."""

from __future__ import annotations

import pytest

from hotswap.address import Address
from hotswap.errors import CannotRestore
from proxy.cluster import Cluster
from proxy.config.model import Balance, ClusterConfig, EndpointConfig


def cluster(balance: Balance, *weights: int) -> Cluster:
    return Cluster(
        ClusterConfig(
            name="app",
            endpoints=tuple(
                EndpointConfig(address=Address.parse(f"127.0.0.1:{9000 + number}"), weight=weight)
                for number, weight in enumerate(weights)
            ),
            balance=balance,
        )
    )


def picks(one: Cluster, count: int, tried: tuple[str, ...] = ()) -> str:
    chosen = (one.pick(tried) for _ in range(count))
    return "".join("-" if endpoint is None else endpoint.name[-1] for endpoint in chosen)


def test_round_robin_ignores_weights() -> None:
    assert picks(cluster("round_robin", 5, 1, 1), 6) == "012012"


def test_weights_are_interleaved() -> None:
    assert picks(cluster("weighted", 5, 1, 1), 7) == "0010200"


def test_least_request_prefers_the_idle_and_rotates_among_equals() -> None:
    one = cluster("least_request", 1, 1, 1)
    assert picks(one, 6) == "012012"
    one.endpoints[0].begin()
    one.endpoints[1].begin()
    assert picks(one, 2) == "22"
    one.endpoints[2].begin()
    one.endpoints[2].begin()
    one.endpoints[1].end()
    assert picks(one, 2) == "11"


def test_tried_endpoints_are_left_out_until_none_is_left() -> None:
    one = cluster("round_robin", 1, 1)
    assert picks(one, 2, ("127.0.0.1:9000",)) == "11"
    assert picks(one, 1, ("127.0.0.1:9000", "127.0.0.1:9001")) == "-"


def test_former_endpoint_is_one_and_the_same_but_never_picked() -> None:
    one = cluster("round_robin", 1)
    former = one.endpoint("127.0.0.1:9999")
    assert one.endpoint("127.0.0.1:9999") is former
    assert former.address == Address.parse("127.0.0.1:9999")
    assert picks(one, 3) == "000"


def test_endpoint_that_is_no_address_is_refused() -> None:
    with pytest.raises(CannotRestore, match="nonsense"):
        cluster("round_robin", 1).endpoint("nonsense")
