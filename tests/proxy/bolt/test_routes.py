"""Which cluster serves a call."""

from __future__ import annotations

import pytest

from proxy.bolt.routes import MAX_MEMO, ServiceTable
from proxy.config.model import MatchConfig, RouteConfig, ShareConfig
from proxy.split import Splits
from tests.kit.bolt import headers


def table(*matches: MatchConfig) -> ServiceTable:
    return services([RouteConfig(cluster=str(number), match=match) for number, match in enumerate(matches)])


def services(routes: list[RouteConfig]) -> ServiceTable:
    return ServiceTable(routes, Splits(routes))


def cluster(routes: ServiceTable, header: bytes) -> str | None:
    route = routes.route(header)
    return None if route is None else route.cluster()


@pytest.mark.parametrize(
    ("service", "taken", "left"),
    [
        ("com.acme.Orders:1.0", ["com.acme.Orders:1.0"], ["com.acme.Orders:1.00", "com.acme.Orders", "x", ""]),
        ("com.acme.*", ["com.acme.Orders:1.0", "com.acme."], ["com.acme", "xcom.acme.a", "comXacme.a"]),
        ("*:1.0", ["a:1.0"], ["a:1.0 ", "a:1X0"]),
        ("a?c", ["abc"], ["ac", "abbc"]),
        ("a[b]*", ["a[b]", "a[b]c"], ["ab"]),
        ("*", ["", "anything"], []),
    ],
)
def test_service_is_a_pattern(service: str, taken: list[str], left: list[str]) -> None:
    routes = table(MatchConfig(service=service))
    for one in taken:
        assert cluster(routes, headers(service=one)) == "0", one
    for one in left:
        assert cluster(routes, headers(service=one)) is None, one


def test_target_service_counts_where_service_is_missing() -> None:
    routes = table(MatchConfig(service="a"), MatchConfig(service="b"))
    assert cluster(routes, headers(sofa_head_target_service="b")) == "1"
    assert cluster(routes, headers(sofa_head_target_service="b", service="a")) == "0"


def test_every_other_header_must_be_there_with_its_value() -> None:
    routes = table(MatchConfig(service="a", headers=(("x-lane", "blue"), ("app", "shop"))))
    assert cluster(routes, headers(service="a", app="shop", **{"X-Lane": "blue"})) == "0"
    assert cluster(routes, headers(service="a", app="shop", **{"x-lane": "Blue"})) is None
    assert cluster(routes, headers(service="a", **{"x-lane": "blue"})) is None


def test_first_route_that_matches_decides() -> None:
    routes = table(MatchConfig(service="a.*"), MatchConfig(service="*"))
    assert cluster(routes, headers(service="a.b")) == "0"
    assert cluster(routes, headers(service="b")) == "1"
    assert cluster(routes, b"") == "1"


def test_no_header_is_read_where_there_is_no_choice() -> None:
    assert table(MatchConfig(), MatchConfig(service="a")).only == "0"
    assert table(MatchConfig(service="a"), MatchConfig()).only is None


def test_memory_of_decisions_is_bounded() -> None:
    routes = table(MatchConfig(service="*"))
    for number in range(3 * MAX_MEMO):
        cluster(routes, headers(service=f"{number}"))
    cluster(routes, headers(service="x" * 1000))
    assert len(routes._memo) <= MAX_MEMO


def test_calls_of_a_route_may_be_divided_among_clusters() -> None:
    shares = (ShareConfig(name="now", weight=3), ShareConfig(name="next", weight=1))
    routes = services([RouteConfig(cluster="now", clusters=shares)])
    assert routes.only is None
    went = [cluster(routes, headers(service="a")) for _ in range(40)]
    assert (went.count("now"), went.count("next")) == (30, 10)
