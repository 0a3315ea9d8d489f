"""Sessions between peers that nobody here wrote, moved after every read."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.kit import http2_peers
from tests.kit.http2_peers import Absent, Peer
from tests.kit.http2_servers import SERVERS
from tests.kit.ports import free_port
from tests.kit.programs import program
from tests.kit.waiting import eventually
from tests.proxy.http2.relay import Relay

pytestmark = pytest.mark.all
FILE = bytes(range(256)) * 1200
LONG = 60.0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "file").write_bytes(FILE)
    return tmp_path


def peer(make: Callable[..., Peer], *arguments: object) -> Peer:
    try:
        return make(*arguments)
    except Absent as reason:
        pytest.skip(str(reason))


@pytest.mark.parametrize("server", SERVERS)
def test_curl_and_nghttp_fetch_a_file(server: str, folder: Path) -> None:
    with SERVERS[server](folder / "site") as port, Relay(port, moves=True) as relay:
        url = f"http://127.0.0.1:{relay.port}/file"
        for argv in ([program("curl"), "-s", "--http2-prior-knowledge"], [program("nghttp")]):
            done = subprocess.run([*argv, url], capture_output=True, timeout=LONG, check=True)
            assert done.stdout == FILE
    assert relay.broke == []


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("moves", [True, False], ids=["moving", "still"])
def test_h2load_sees_no_failure(server: str, moves: bool, folder: Path) -> None:
    with SERVERS[server](folder / "site") as port, Relay(port, moves=moves) as relay:
        argv = [program("h2load"), "-n", "400", "-c", "4", "-m", "20", f"http://127.0.0.1:{relay.port}/file"]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=LONG * 2, check=True)
    assert re.search(r"requests: 400 total, 400 started, 400 done, 400 succeeded, 0 failed, 0 errored", done.stdout)
    assert relay.broke == []


def through(server: Peer, port: int, client: Callable[[int], Peer], count: int) -> None:
    with ExitStack() as stack:
        stack.enter_context(server)
        relay = stack.enter_context(Relay(port, moves=True))
        caller = stack.enter_context(peer(client, relay.port))
        eventually(lambda: relay.broke or relay.reads >= count, within=LONG, what="calls")
        report = caller.finish()
        eventually(lambda: relay.ended, within=LONG, what="the client's connections end")
        behind = server.finish()  # grpcio's says GOAWAY to those that are left, with INTERNAL_ERROR
    assert report.failures == []
    assert behind.failures == []
    assert report.calls > 0
    assert behind.calls >= report.calls
    assert relay.broke == []


def test_node_posts_to_node() -> None:
    port = free_port()
    server = peer(http2_peers.node_server, port)
    through(server, port, lambda via: http2_peers.node_client(f"http://127.0.0.1:{via}", 2, 10), 500)


def test_grpcio_calls_grpcio() -> None:
    port = free_port()
    server = peer(http2_peers.grpc_server, port)
    through(server, port, lambda via: http2_peers.grpc_client(f"127.0.0.1:{via}", 2, 2, 200), 500)
