"""What ``http2`` of a cluster goes together with."""

from __future__ import annotations

import pytest

from hotswap.settings.problems import InvalidConfig
from proxy.config.loader import loads

TEXT = """\
name: edge
listeners:
  - {name: web, address: "127.0.0.1:8080", protocol: http1, cluster: app}
clusters:
  - {name: app, endpoints: ["10.0.0.1:9000"], http2: true}
"""
COPYING = TEXT.replace("cluster: app}", "cluster: app, filters: [{name: mirror, config: {cluster: copy}}]}")


def problems(old: str, new: str, text: str = TEXT) -> list[str]:
    assert old in text
    with pytest.raises(InvalidConfig) as raised:
        loads(text.replace(old, new, 1))
    return [problem.at("edge.yaml") for problem in raised.value.problems]


def warnings(old: str = "", new: str = "") -> list[str]:
    return [one.at("edge.yaml") for one in loads(TEXT.replace(old, new, 1)).warnings]


def test_it_is_off_unless_it_is_written() -> None:
    assert not loads(TEXT.replace(", http2: true", "")).config.clusters[0].http2
    assert loads(TEXT).config.clusters[0].http2
    assert warnings() == []


def test_with_tls_it_is_agreed_on() -> None:
    for alpn in ("tls: {}", "tls: {alpn: [h2]}"):
        tls = loads(TEXT.replace("http2: true", f"http2: true, {alpn}")).config.clusters[0].tls
        assert tls is not None
        assert tls.alpn == ("h2",)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("http2: true", "http2: 2", "clusters[0].http2: '2' stands here; write true or false"),
        ("http2: true", "http2: true, tls: {alpn: [http/1.1]}", "tls.alpn: http/1.1 could be agreed on and is not"),
        ("http2: true", "http2: true, tls: {alpn: [h2, http/1.1]}", "tls.alpn: http/1.1 could be agreed on"),
        (
            "http2: true",
            "http2: true, transparent_source: true",
            "requests over HTTP/2 share connections, which cannot come from each client; see app",
        ),
        (
            'endpoints: ["10.0.0.1:9000"]',
            "endpoints: original_dst",
            "requests over HTTP/2 share connections, so app cannot go where each client wanted; list endpoints",
        ),
    ],
)
def test_mistakes(old: str, new: str, words: str) -> None:
    assert any(words in line for line in problems(old, new)), problems(old, new)


def test_copies_are_not_sent_that_way() -> None:
    words = "listeners[0].filters[0].config: copies are sent in HTTP/1.1, and copy says http2; take another one"
    there = "http2: true}\n  - {name: copy, endpoints: ['10.0.0.2:1'], http2: true}"
    assert any(words in line for line in problems("http2: true}", there, COPYING))


def test_a_copy_may_be_of_such_a_request() -> None:
    assert loads(COPYING + "  - {name: copy, endpoints: ['10.0.0.2:1']}\n").warnings == ()


def test_a_listener_has_to_make_use_of_it() -> None:
    words = "clusters[0].http2: no listener of http1 uses this cluster; remove http2, or add one"
    assert any(words in line for line in warnings("protocol: http1", "protocol: tcp"))


def test_a_check_speaks_http1() -> None:
    words = "clusters[0].health_check.check: the endpoints speak HTTP/2; write check: http2, or grpc"
    assert any(words in line for line in problems("http2: true", "http2: true, health_check: {check: http}"))
    assert warnings("http2: true", "http2: true, health_check: {check: tcp}") == []
