"""Routes: the first that matches decides, and no spelling of a path slips past one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.model import MatchConfig, RouteConfig
from proxy.metrics.families import Families
from proxy.metrics.meters import ListenerMeters
from proxy.route import MAX_MEMO, RouteTable, host_name, normal_path
from proxy.split import Splits


def table(**matches: MatchConfig) -> RouteTable:
    routes = [RouteConfig(cluster=name, match=match) for name, match in matches.items()]
    return RouteTable(routes, Splits(routes), ListenerMeters(Families(), "web", "http1").route)


def find(routes: RouteTable, path: str, host: str = "a", *lines: bytes) -> str | None:
    route = routes.find(host.encode(), path.encode(), [b"GET / HTTP/1.1", *lines])
    return None if route is None else route.cluster


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/v1", "one"),
        ("/v1/", "one"),
        ("/v1/users", "one"),
        ("/v10", "rest"),
        ("/v1.json", "rest"),
        ("/V1", "rest"),
        ("/", "rest"),
        ("*", "rest"),
        ("/exact", "exact"),
        ("/exact/", "rest"),
        ("/dir/", "dir"),
        ("/dir/x", "dir"),
        ("/dir", "rest"),
        # other spellings of the same paths
        ("//v1", "one"),
        ("/./v1", "one"),
        ("/x/../v1", "one"),
        ("/../v1", "one"),
        ("/%76%31/x", "one"),
        ("/v1/..", "rest"),
        ("/v1/../v2", "rest"),
        ("/v1/%2e%2e/v2", "rest"),
        ("/v1%2fx", "rest"),
        ("/exact/.", "rest"),
        ("/x/../exact", "exact"),
    ],
)
def test_paths(path: str, found: str) -> None:
    routes = table(
        one=MatchConfig(prefix="/v1"),
        exact=MatchConfig(path="/exact"),
        dir=MatchConfig(prefix="/dir/"),
        rest=MatchConfig(prefix="/"),
    )
    assert find(routes, path) == found
    assert find(routes, path) == found


@pytest.mark.parametrize(
    ("host", "found"),
    [
        ("example.com", "exact"),
        ("EXAMPLE.com", "exact"),
        ("example.com:8080", "exact"),
        ("example.com.", "exact"),
        ("www.example.com", "below"),
        ("a.b.example.com:80", "below"),
        ("wwwexample.com", None),
        (".example.com", None),
        ("", None),
        ("[::1]:80", "six"),
    ],
)
def test_hosts(host: str, found: str | None) -> None:
    routes = table(
        exact=MatchConfig(host="example.com"),
        below=MatchConfig(host="*.example.com"),
        six=MatchConfig(host="[::1]"),
    )
    assert find(routes, "/", host) == found


def test_headers_must_all_be_there_with_their_value() -> None:
    routes = table(
        beta=MatchConfig(headers=(("x-version", "beta"), ("x-user", "7"))),
        rest=MatchConfig(),
    )
    assert find(routes, "/", "a", b"X-VERSION:  beta ", b"x-user:7") == "beta"
    assert find(routes, "/", "a", b"X-Version: beta") == "rest"
    assert find(routes, "/", "a", b"X-Version: Beta", b"X-User: 7") == "rest"
    assert find(routes, "/", "a", b"X-Version: alpha", b"X-Version: beta", b"X-User: 7") == "beta"
    assert find(routes, "/", "a") == "rest"


def test_first_match_wins() -> None:
    routes = table(first=MatchConfig(prefix="/a"), second=MatchConfig(prefix="/a/b"), third=MatchConfig(host="h"))
    assert find(routes, "/a/b", "h") == "first"
    assert find(routes, "/x", "h") == "third"
    assert find(routes, "/x", "i") is None


def test_all_conditions_must_hold() -> None:
    routes = table(api=MatchConfig(host="api.example.com", prefix="/v1"))
    assert find(routes, "/v1/x", "api.example.com") == "api"
    assert find(routes, "/v2", "api.example.com") is None
    assert find(routes, "/v1/x", "www.example.com") is None


def test_decisions_remembered_are_bounded() -> None:
    routes = table(rest=MatchConfig(prefix="/"))
    for n in range(3 * MAX_MEMO):
        assert find(routes, f"/{n}") == "rest"
    assert find(routes, "/" + "x" * 10000) == "rest"
    assert len(routes.known) <= MAX_MEMO
    assert all(len(path) < 1000 for _, path in routes.known)


def test_decisions_by_headers_are_not_remembered() -> None:
    routes = table(beta=MatchConfig(headers=(("x", "1"),)), rest=MatchConfig())
    assert find(routes, "/", "a", b"X: 1") == "beta"
    assert find(routes, "/") == "rest"
    assert not routes.known


@given(st.lists(st.sampled_from(["a", "b", ".", "..", "%2e", "%2E%2e", "%61", "%zz", "%", "", "c d"]), max_size=8))
def test_normal_form_is_stable_and_has_no_way_up(segments: list[str]) -> None:
    path = ("/" + "/".join(segments)).encode()
    normal = normal_path(path)
    assert normal_path(normal) == normal
    assert normal.startswith(b"/")
    assert not {b"..", b"."} & set(normal.split(b"/"))
    assert b"//" not in normal


def test_host_name() -> None:
    assert host_name(b"A.B:80") == b"a.b"
    assert host_name(b"[::1]") == b"[::1]"
