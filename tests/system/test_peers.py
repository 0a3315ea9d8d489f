"""Peers that nobody here wrote, through several upgrades: clients before the proxy, servers behind it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import msgspec
import pytest
import websockets.exceptions
from websockets.sync.client import connect
from websockets.sync.server import Server, ServerConnection, serve

from tests.kit.client import Client
from tests.kit.offspring import run_state
from tests.kit.ports import loopback, port_of
from tests.kit.processes import PATIENCE
from tests.kit.programs import program
from tests.kit.stage import Edge, Stage
from tests.kit.upstreams import Upstreams
from tests.kit.waiting import eventually

UPGRADES = 3


@pytest.fixture(scope="module")
def upstreams() -> Iterator[Upstreams]:
    with Upstreams(("http", "127.0.0.1:0"), ("tcp", "127.0.0.1:0")) as running:
        yield running


@pytest.fixture
def edge(stage: Stage, upstreams: Upstreams) -> Edge:
    return stage.edge(upstreams)


def test_curl_keeps_its_one_connection(edge: Edge) -> None:
    def curl(seconds: float) -> list[str]:
        url = f"http://{edge.web}/stream?seconds=1&every=0.05&size=1000&number=[1-{seconds:.0f}]"
        return [program("curl"), "-sS", "-o", "/dev/null", "-w", written, url]

    written = "%{http_code} %{num_connects} %{size_download}\\n"
    output, seconds = edge.run_for_long(curl, 6.0, UPGRADES)
    size = 20 * 1012
    assert output.splitlines() == [f"200 1 {size}", *[f"200 0 {size}"] * (round(seconds) - 1)]


@pytest.mark.all
def test_curl_uploads_slowly(edge: Edge, tmp_path: Path) -> None:
    body = os.urandom(3_000_000)
    (tmp_path / "body").write_bytes(body)

    def upload(seconds: float) -> list[str]:
        limit = f"{3000 / seconds:.0f}K"
        return [program("curl"), "-sS", "-T", str(tmp_path / "body"), "--limit-rate", limit, f"http://{edge.web}/sink"]

    output, _ = edge.run_for_long(upload, 6.0, UPGRADES)
    assert msgspec.json.decode(output) == {"length": len(body), "crc": zlib.crc32(body)}


def test_wrk_sees_no_error(edge: Edge) -> None:
    wrk = [program("wrk"), "-t1", "-c16", "-d60s", f"http://{edge.web}/bytes?n=1000"]
    output = edge.run_through_upgrades(wrk, UPGRADES, then=lambda client: client.send_signal(signal.SIGINT))
    assert "Socket errors" not in output
    assert "Non-2xx" not in output


def h2load(address: str, path: str, seconds: float = 6.0) -> list[str]:
    """The strictest witness: a silent close, a reset or a late answer counts as a failure."""
    count = f"-n{many(seconds)}"
    return [program("h2load"), "--h1", "-t1", "-c16", count, "--rps=33", f"http://{address}{path}"]


def many(seconds: float) -> int:
    """How many requests 16 clients send that send 33 a second."""
    return round(16 * 33 * seconds)


def h2load_sees_no_error(edge: Edge, path: str) -> None:
    output, seconds = edge.run_for_long(partial(h2load, edge.web, path), 6.0, UPGRADES)
    all_ = many(seconds)
    figures = f"{all_} total, {all_} started, {all_} done, {all_} succeeded, 0 failed, 0 errored, 0 timeout"
    assert figures in output, output
    assert f"{all_} 2xx, 0 3xx, 0 4xx, 0 5xx" in output, output


@pytest.mark.all
def test_h2load_sees_no_error(edge: Edge) -> None:
    h2load_sees_no_error(edge, "/bytes?n=1000")


def start_nginx(stage: Stage, address: str) -> None:
    prefix = stage.directory / "nginx"
    (prefix / "logs").mkdir(parents=True)
    (prefix / "nginx.conf").write_text(
        f"""
        daemon off; master_process off; pid {prefix}/pid; error_log stderr;
        events {{ worker_connections 512; }}
        http {{
            access_log off; client_body_temp_path {prefix}/body; proxy_temp_path {prefix}/proxy;
            fastcgi_temp_path {prefix}/fastcgi; uwsgi_temp_path {prefix}/uwsgi; scgi_temp_path {prefix}/scgi;
            keepalive_requests 100;
            server {{ listen {address}; location / {{ return 200 "this is nginx\n"; }} }}
        }}
        """
    )
    argv = [program("nginx"), "-p", str(prefix), "-c", str(prefix / "nginx.conf"), "-e", "stderr"]
    start_server(stage, argv, address)


def start_haproxy(stage: Stage, address: str) -> None:
    file = stage.directory / "haproxy.cfg"
    file.write_text(
        f"""
defaults
    mode http
    timeout client 10s
    timeout connect 10s
    timeout server 10s
frontend f
    bind {address}
    http-request return status 200 content-type text/plain string "this is haproxy"
"""
    )
    start_server(stage, [program("haproxy"), "-db", "-f", str(file)], address)


def start_server(stage: Stage, argv: list[str], address: str) -> None:
    pid = stage.offspring.start(argv, env=dict(os.environ), cwd=stage.directory, stderr=stage.directory / "peer.log")

    def answers() -> bool:
        assert run_state(pid) not in "ZX-", (stage.directory / "peer.log").read_text()
        try:
            Client(address).close()
        except ConnectionRefusedError:
            return False
        return True

    eventually(answers, within=PATIENCE, what=f"{argv[0]} listens")


@pytest.mark.parametrize(
    "start",
    [pytest.param(start_nginx, id="nginx"), pytest.param(start_haproxy, id="haproxy", marks=pytest.mark.all)],
)
def test_a_foreign_upstream_serves_every_request(stage: Stage, start: object) -> None:
    address = loopback()
    assert callable(start)
    start(stage, address)
    upstreams = stage.upstreams()
    edge = stage.edge(upstreams, clusters=[{"name": name, "endpoints": [address]} for name in ("app", "db")])
    h2load_sees_no_error(edge, "/")
    with Client(edge.web) as client:
        assert client.ask("/").body.startswith(b"this is ")


@pytest.fixture
def chat_server() -> Iterator[Server]:
    def echo(connection: ServerConnection) -> None:
        try:
            for message in connection:
                connection.send(message)
        except websockets.exceptions.ConnectionClosed:
            pass

    with serve(echo, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_websockets_on_both_sides_notice_nothing(stage: Stage, chat_server: Server) -> None:
    behind = f"127.0.0.1:{chat_server.socket.getsockname()[1]}"
    edge = stage.edge(clusters=[{"name": name, "endpoints": [behind]} for name in ("app", "db")])
    with ExitStack() as exits:
        address = f"ws://127.0.0.1:{port_of(edge.web)}/chat"
        tunnels = [exits.enter_context(connect(address, ping_interval=1)) for _ in range(5)]
        for number in range(UPGRADES):
            for tunnel in tunnels:
                tunnel.send(f"before {number}")
            done = edge.instance.upgrade("--require-all")
            assert done.exit_code == 0, done.text
            for tunnel in tunnels:
                tunnel.send(os.urandom(70_000))
                assert tunnel.recv(timeout=PATIENCE) == f"before {number}"
                assert len(tunnel.recv(timeout=PATIENCE)) == 70_000
        for tunnel in tunnels:
            tunnel.close()
            assert tunnel.close_code == 1000


def test_h2load_is_a_witness_at_all(edge: Edge) -> None:
    """A control: killing the proxy under it must show in its figures."""
    with subprocess.Popen(h2load(edge.web, "/bytes?n=1000"), stdout=subprocess.PIPE, text=True) as client:
        eventually(lambda: edge.instance.status().in_flight, within=PATIENCE, what="the client is busy")
        edge.instance.kill(edge.instance.status().pid)
        output, _ = client.communicate(timeout=60)
    failed = re.search(r"(\d+) failed", output)
    assert failed is not None
    assert int(failed[1]) > 0
