"""Endpoints of HTTP/2 that nobody here wrote, behind the proxy, through upgrades: no failed request, no reset."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.kit import http2_peers
from tests.kit.certificates import Authority
from tests.kit.http2_peers import Absent, Peer
from tests.kit.http2_servers import SERVERS
from tests.kit.ports import free_port, loopback
from tests.kit.processes import Instance
from tests.kit.programs import program
from tests.kit.stage import Stage
from tests.kit.waiting import eventually

UPGRADES = 3
MANY = 20
FILE = bytes(range(256)) * 4

OTHERS = sorted(SERVERS.keys() - {"nghttpd"})


@pytest.fixture
def site(tmp_path: Path) -> Path:
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "file").write_bytes(FILE)
    return folder


def peer(make: Callable[..., Peer], *arguments: object) -> Peer:
    try:
        return make(*arguments)
    except Absent as reason:
        pytest.skip(str(reason))


def proxy(stage: Stage, port: int, authority: Authority | None = None, **cluster: object) -> tuple[Instance, str]:
    """One whose clients speak HTTP/1.1 or HTTP/2, and whose endpoint speaks HTTP/2."""
    address = loopback()
    listener = {"name": "web", "address": address, "protocol": "http1", "http2": True, "cluster": "app"}
    app: dict[str, object] = {"name": "app", "http2": True, "endpoints": [f"127.0.0.1:{port}"], **cluster}
    if authority is not None:
        app["tls"] = {"ca": str(authority.file), "sni": "edge.test"}
    instance = stage.instance({"name": "edge", "listeners": [listener], "clusters": [app]})
    instance.start()
    return instance, address


def upgrade(instance: Instance, times: int) -> None:
    for _ in range(times):
        eventually(lambda: instance.status().connections > 1, within=20, what="clients are there")
        done = instance.upgrade("--require-all")
        assert done.exit_code == 0, done.text


def h2load_through(instance: Instance, argv: list[str], requests: int, upgrades: int) -> None:
    with subprocess.Popen([program("h2load"), *argv], stdout=subprocess.PIPE, text=True) as load:
        upgrade(instance, upgrades)
        assert load.poll() is None, "the load was over before the upgrades were"
        output, _ = load.communicate(timeout=120)
    assert f"{requests} succeeded, 0 failed, 0 errored, 0 timeout" in output, output
    assert f"status codes: {requests} 2xx" in output, output


@pytest.mark.parametrize("server", ["nghttpd", *(pytest.param(one, marks=pytest.mark.all) for one in OTHERS)])
@pytest.mark.parametrize("version", [pytest.param("h1", marks=pytest.mark.all), "h2"])
def test_h2load_sees_no_error(stage: Stage, site: Path, server: str, version: str) -> None:
    """nginx sends GOAWAY after every thousandth request: those it did not take go on another connection."""
    with SERVERS[server](site) as port:
        instance, address = proxy(stage, port)
        requests = 16 * 40 * 10
        kind = ["--h1"] if version == "h1" else ["-m10"]
        load = [*kind, "-t1", "-c16", f"-n{requests}", "--rps=40", f"http://{address}/file"]
        h2load_through(instance, load, requests, UPGRADES)


@pytest.mark.all
@pytest.mark.timeout(300)
@pytest.mark.parametrize("server", SERVERS)
def test_a_hundred_connections_with_twenty_streams_each_cross_twenty_upgrades(
    stage: Stage, site: Path, server: str
) -> None:
    with SERVERS[server](site) as port:
        instance, address = proxy(stage, port, shared_connections=32)
        requests = 100 * 10 * 90
        load = ["-t1", "-c100", "-m20", f"-n{requests}", "--rps=10", f"http://{address}/file"]
        h2load_through(instance, load, requests, MANY)


@pytest.mark.parametrize("client", ["curl", "curl --http1.1", "nghttp"])
def test_clients_fetch_a_file(stage: Stage, site: Path, client: str) -> None:
    argv = {
        "curl": [program("curl"), "-sS", "--http2-prior-knowledge"],
        "curl --http1.1": [program("curl"), "-sS", "--http1.1"],
        "nghttp": [program("nghttp")],
    }
    with SERVERS["nghttpd"](site) as port:
        _, address = proxy(stage, port)
        done = subprocess.run([*argv[client], f"http://{address}/file"], capture_output=True, timeout=20, check=True)
        assert done.stdout == FILE


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
def test_node_posts_to_node(stage: Stage, authority: Authority, secure: bool) -> None:
    port = free_port()
    shown = authority.issue("edge.test") if secure else None
    files = (shown.cert, shown.key) if shown is not None else ()
    with peer(http2_peers.node_server, port, *files) as server:
        instance, address = proxy(stage, port, authority if secure else None)
        with peer(http2_peers.node_client, f"http://{address}", 4, 10) as client:
            upgrade(instance, UPGRADES)
            report = client.finish()
        assert report.failures == []
        assert report.calls > 100
        assert server.finish().failures == []


@pytest.mark.all
def test_calls_of_grpc_notice_nothing(stage: Stage) -> None:
    """All four kinds of call on 4 channels with 8 streams each."""
    port = free_port()
    with peer(http2_peers.grpc_server, port) as server:
        instance, address = proxy(stage, port)
        with peer(http2_peers.grpc_client, address, 4, 2, 50) as client:
            upgrade(instance, UPGRADES)
            report = client.finish()
        assert report.failures == []
        assert report.calls > 100
        assert server.finish().calls >= report.calls


@pytest.mark.all
@pytest.mark.timeout(400)
@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
def test_streams_of_a_thousand_messages_cross_ten_upgrades(stage: Stage, authority: Authority, secure: bool) -> None:
    """Both ways, each answer compared before the next is asked for; a stream takes all ten."""
    port = free_port()
    shown = authority.issue("edge.test") if secure else None
    files = (shown.cert, shown.key) if shown is not None else ()
    with peer(http2_peers.grpc_server, port, *files) as server:
        instance, address = proxy(stage, port, authority if secure else None)
        with peer(http2_peers.grpc_client, address, 4, 5, 1000) as client:
            upgrade(instance, 10)
            report = client.finish()
        assert report.failures == []
        assert report.calls > 40
        assert server.finish().calls >= report.calls


# ---- gRPC: what the proxy itself says ----


@pytest.mark.all
def test_status_of_the_server_passes(stage: Stage) -> None:
    port = free_port()
    with peer(http2_peers.grpc_server, port):
        _, address = proxy(stage, port)
        status = http2_peers.grpc_once(address, "Fail", b"5 no such thing, 100 % sure")
        assert (status.code, status.details) == ("NOT_FOUND", "no such thing, 100 % sure")
        assert http2_peers.grpc_once(address, "Echo", b"hello").answer == b"hello".hex()


@pytest.mark.all
def test_deadline_is_kept_by_the_proxy(stage: Stage) -> None:
    """The client gives up by itself as well; that the proxy did tells its counter of timeouts."""
    port = free_port()
    with peer(http2_peers.grpc_server, port):
        instance, address = proxy(stage, port)
        status = http2_peers.grpc_once(address, "Sleep", b"30", within=1.0)
        assert status.code == "DEADLINE_EXCEEDED"
        assert 0.9 < status.seconds < 10
        eventually(lambda: instance.status().in_flight == 0, within=10, what="nothing is under way")


@pytest.mark.all
def test_endpoint_that_is_not_there_is_unavailable(stage: Stage) -> None:
    _, address = proxy(stage, free_port())
    status = http2_peers.grpc_once(address, "Echo", b"hello")
    assert status.code == "UNAVAILABLE"
    assert "no endpoint could be reached" in status.details


@pytest.mark.all
@pytest.mark.parametrize(("served", "code"), [(True, "OK"), (False, "UNAVAILABLE")])
def test_health_service_decides(stage: Stage, site: Path, served: bool, code: str) -> None:
    """A server of gRPC is healthy; nghttpd knows no such service, and gets no call."""
    port = free_port()
    health = {"check": "grpc", "interval": "100ms", "unhealthy": 1, "healthy": 1, "panic": 0}
    with ExitStack() as servers:
        if served:
            servers.enter_context(peer(http2_peers.grpc_server, port))
        else:
            port = servers.enter_context(SERVERS["nghttpd"](site))
        _, address = proxy(stage, port, health_check=health)
        eventually(
            lambda: http2_peers.grpc_once(address, "Echo", b"hello").code == code, within=20, what=f"calls get {code}"
        )
