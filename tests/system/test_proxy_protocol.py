"""The PROXY protocol with senders and receivers that nobody here wrote: curl, haproxy and nginx."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.ports import loopback, port_of, refused
from tests.kit.programs import program
from tests.kit.stage import Stage
from tests.kit.waiting import eventually

NGINX = """
daemon off; master_process off; pid {here}/nginx.pid; error_log {here}/nginx.log warn;
events {{ worker_connections 64; }}
http {{
  access_log off;
  client_body_temp_path {here}/b; proxy_temp_path {here}/p;
  fastcgi_temp_path {here}/f; uwsgi_temp_path {here}/u; scgi_temp_path {here}/s;
  server {{
    listen {receiver} proxy_protocol;
    location / {{ return 200 "$proxy_protocol_addr $http_x_forwarded_for\\n"; }}
  }}
}}
"""
HAPROXY = """
global
  maxconn 100
defaults
  mode http
  timeout connect 5s
  timeout client 30s
  timeout server 30s
frontend receiver
  bind {receiver} accept-proxy
  http-request return status 200 content-type text/plain lf-string "%[src] %[req.hdr(x-forwarded-for)]\\n"
listen first
  bind {first}
  server edge {edge} send-proxy
listen second
  bind {second}
  server edge {edge} send-proxy-v2
"""


@pytest.fixture
def receivers(tmp_path: Path) -> Iterator[dict[str, str]]:
    """nginx and haproxy as receivers, haproxy as a sender to the address `edge`."""
    at = {name: loopback() for name in ("nginx", "haproxy", "edge", "first", "second")}
    (tmp_path / "nginx.conf").write_text(NGINX.format(here=tmp_path, receiver=at["nginx"]))
    names = {"receiver": at["haproxy"], "edge": at["edge"], "first": at["first"], "second": at["second"]}
    (tmp_path / "haproxy.cfg").write_text(HAPROXY.format(**names))
    programs = [
        [program("nginx"), "-p", str(tmp_path), "-c", str(tmp_path / "nginx.conf")],
        [program("haproxy"), "-db", "-f", str(tmp_path / "haproxy.cfg")],
    ]
    running = [subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for argv in programs]
    try:
        for name in ("nginx", "haproxy", "first"):
            eventually(lambda name=name: not refused(at[name]), within=20, what=f"{name} listens")  # type: ignore[misc]
        yield at
    finally:
        for one in running:
            one.terminate()
            one.wait(20)


def fetch(address: str, *arguments: str) -> str:
    argv = [program("curl"), "-sS", "--max-time", "20", *arguments, f"http://{address}/"]
    return subprocess.run(argv, check=True, capture_output=True, text=True, timeout=30).stdout


@pytest.mark.parametrize("receiver", ["nginx", "haproxy"])
@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("protocol", ["tcp", "http1"])
def test_what_senders_tell_arrives_at_receivers(
    stage: Stage, receivers: dict[str, str], receiver: str, version: str, protocol: str
) -> None:
    gate = {"trusted": ["127.0.0.0/8"], "timeout": "20s"}
    listener = {"name": "web", "address": receivers["edge"], "protocol": protocol, "cluster": "app"}
    cluster = {"name": "app", "endpoints": [receivers[receiver]], "proxy_protocol": version}
    instance = stage.instance(
        {"name": "edge", "listeners": [{**listener, "proxy_protocol": gate}], "clusters": [cluster]}
    )
    instance.start()
    via = "127.0.0.1" if protocol == "http1" else ""
    assert fetch(receivers["edge"], "--haproxy-protocol").split() == ["127.0.0.1", via][: 1 + bool(via)]
    assert fetch(receivers["first"], "--interface", "127.0.0.7").split()[0] == "127.0.0.7"
    assert fetch(receivers["second"], "--interface", "127.0.0.9").split()[0] == "127.0.0.9"
    with socket.create_connection(("127.0.0.1", port_of(receivers["edge"])), timeout=20) as client:
        client.sendall(b"PROXY TCP4 203.0.113.9 198.5")
        eventually(lambda: instance.status().connections, within=20, what="the connection is accepted")
        done = instance.upgrade("--require-all")
        assert done.exit_code == 0, done.text
        client.sendall(b"1.100.7 4711 443\r\nGET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        answer = b"".join(iter(lambda: client.recv(4096), b""))
    assert answer.rpartition(b"\r\n\r\n")[2].split()[0] == b"203.0.113.9"
