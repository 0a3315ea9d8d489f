"""The HTTP/2 peers by themselves: a client that reports nothing of a proxy would be no witness."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.certificates import Authority
from tests.kit.http2_peers import Absent, Peer, grpc_client, grpc_once, grpc_server, node_client, node_server
from tests.kit.ports import free_port

pytestmark = pytest.mark.all


@pytest.fixture(params=["plaintext", "tls"])
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, str, str]:
    """Certificate, key, authority; or nothing."""
    if request.param == "plaintext":
        return "", "", ""
    authority = Authority(tmp_path)
    pair = authority.issue("server")
    return str(pair.cert), str(pair.key), str(authority.file)


def started(make: object, *arguments: object) -> Peer:
    assert callable(make)
    try:
        peer: Peer = make(*arguments)
    except Absent as reason:
        pytest.skip(str(reason))
    return peer


def test_node_posts_to_node(pair: tuple[str, str, str]) -> None:
    port = free_port()
    cert, key, authority = pair
    url = f"http{'s' if cert else ''}://localhost:{port}"
    with started(node_server, port, cert, key) as server, started(node_client, url, 2, 5, authority) as client:
        report, behind = client.finish(), server.finish()
    assert report.failures == behind.failures == []
    assert behind.calls == report.calls + 2


def test_grpcio_calls_grpcio(pair: tuple[str, str, str]) -> None:
    port = free_port()
    cert, key, authority = pair
    address = f"localhost:{port}"
    with started(grpc_server, port, cert, key) as server, started(grpc_client, address, 2, 1, 50, authority) as client:
        report, behind = client.finish(), server.finish()
    assert report.failures == behind.failures == []
    assert behind.calls == report.calls + 2 >= 10


@pytest.fixture
def address() -> Iterator[str]:
    port = free_port()
    with started(grpc_server, port):
        yield f"127.0.0.1:{port}"


def test_one_call_tells_its_status(address: str) -> None:
    assert grpc_once(address, "Echo", b"hello").answer == b"hello".hex()
    failed = grpc_once(address, "Fail", b"5 no such thing")
    assert (failed.code, failed.details) == ("NOT_FOUND", "no such thing")
    assert grpc_once(address, "Sleep", b"20", within=0.3).code == "DEADLINE_EXCEEDED"
    assert grpc_once(address, "Nothing").code == "UNIMPLEMENTED"
    assert grpc_once(f"127.0.0.1:{free_port()}", "Echo").code == "UNAVAILABLE"
