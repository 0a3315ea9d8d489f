"""Clients of HTTP/2 that nobody here wrote, through upgrades: no failed stream, no GOAWAY, no reset."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.certificates import Authority
from tests.kit.ports import port_of
from tests.kit.programs import program
from tests.kit.stage import Edge, Stage
from tests.kit.upstreams import Upstreams

UPGRADES = 3
NODE = """
const http2 = require('http2');
const [url, rounds] = [process.argv[2], Number(process.argv[3])];
const session = http2.connect(url);
let left = rounds * 10, bad = 0;
session.on('goaway', () => { console.log('GOAWAY'); bad += 1; });
session.on('error', (error) => { console.log(error.message); process.exit(1); });
function ask(again) {
  const stream = session.request({ ':path': '/bytes?n=2000' });
  let size = 0;
  stream.on('response', (headers) => { if (headers[':status'] !== 200) bad += 1; });
  stream.on('data', (data) => { size += data.length; });
  stream.on('error', () => { bad += 1; });
  stream.on('close', () => {
    if (size !== 2000) bad += 1;
    left -= 1;
    if (again > 1) setTimeout(ask, 30, again - 1);
    if (!left) { console.log(`${rounds * 10} streams, ${bad} bad`); session.close(); }
  });
}
for (let number = 0; number < 10; number += 1) ask(rounds);
"""


@pytest.fixture(scope="module")
def upstreams() -> Iterator[Upstreams]:
    with Upstreams(("http", "127.0.0.1:0"), ("tcp", "127.0.0.1:0")) as running:
        yield running


def speaking(stage: Stage, upstreams: Upstreams, authority: Authority | None = None) -> Edge:
    """The usual proxy, whose web listener speaks HTTP/2, too."""
    edge = Edge(stage, upstreams, authority=authority)
    edge.instance.config["listeners"][0]["http2"] = True
    edge.instance.write_config()
    edge.instance.start()
    return edge


def h2load(edge: Edge, connections: int, streams: int, requests: int, *, secure: bool = False) -> list[str]:
    scheme = "https" if secure else "http"
    load = ["-t1", f"-c{connections}", f"-m{streams}", f"-n{requests}", f"--rps={40 if connections < 50 else 10}"]
    return [program("h2load"), *load, f"{scheme}://{edge.web}/bytes?n=1000"]


def all_succeeded(output: str, requests: int) -> None:
    assert f"{requests} succeeded, 0 failed, 0 errored, 0 timeout" in output, output
    assert "Application protocol: h2" in output


@pytest.mark.parametrize("secure", [False, pytest.param(True, marks=pytest.mark.all)], ids=["plain", "tls"])
def test_h2load_sees_no_error(stage: Stage, upstreams: Upstreams, authority: Authority, secure: bool) -> None:
    edge = speaking(stage, upstreams, authority if secure else None)
    requests = 16 * 40 * 10
    output = edge.run_through_upgrades(h2load(edge, 16, 10, requests, secure=secure), UPGRADES)
    all_succeeded(output, requests)


@pytest.mark.all
@pytest.mark.timeout(300)
def test_a_hundred_connections_with_twenty_streams_each_cross_twenty_upgrades(
    stage: Stage, upstreams: Upstreams
) -> None:
    edge = speaking(stage, upstreams)
    requests = 100 * 10 * 90
    output = edge.run_through_upgrades(h2load(edge, 100, 20, requests), 20)
    all_succeeded(output, requests)


def test_curl_downloads_on_one_connection(stage: Stage, upstreams: Upstreams, authority: Authority) -> None:
    """Over TLS: this curl (7.88) cannot use a connection of prior knowledge again, whoever serves."""
    edge = speaking(stage, upstreams, authority)
    written = "%{http_version} %{http_code} %{num_connects} %{size_download}\\n"
    url = f"https://edge.test:{port_of(edge.web)}/stream?seconds=1&every=0.05&size=1000&number=[1-6]"
    curl = [program("curl"), "--http2", *trusting(edge, authority), "-w", written, url]
    output = edge.run_through_upgrades(curl, UPGRADES)
    size = 20 * 1012
    assert output.splitlines() == [f"2 200 1 {size}", *[f"2 200 0 {size}"] * 5]


def trusting(edge: Edge, authority: Authority) -> list[str]:
    """Options of curl."""
    port = port_of(edge.web)
    return ["-sS", "--cacert", str(authority.file), "-o", "/dev/null", "--resolve", f"edge.test:{port}:127.0.0.1"]


def test_curl_agrees_on_it_by_alpn(stage: Stage, upstreams: Upstreams, authority: Authority) -> None:
    edge = speaking(stage, upstreams, authority)
    rest = [*trusting(edge, authority), "-w", "%{http_version}", f"https://edge.test:{port_of(edge.web)}/bytes?n=9"]
    for option, version in (("--http2", "2"), ("--http1.1", "1.1")):
        done = subprocess.run([program("curl"), option, *rest], capture_output=True, text=True, timeout=20, check=False)
        assert (done.returncode, done.stdout) == (0, version), done.stderr


@pytest.mark.all
def test_nghttp_uploads_and_downloads(stage: Stage, upstreams: Upstreams, tmp_path: Path) -> None:
    edge = speaking(stage, upstreams)
    body = tmp_path / "body"
    body.write_bytes(bytes(range(256)) * 4000)
    upload = [program("nghttp"), "-n", "-s", "-d", str(body), f"http://{edge.web}/sink"]
    done = subprocess.run(upload, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert re.search(r"\s200\s", done.stdout), done.stdout


@pytest.mark.all
def test_node_keeps_its_session(stage: Stage, upstreams: Upstreams, tmp_path: Path) -> None:
    edge = speaking(stage, upstreams)
    script = tmp_path / "client.js"
    script.write_text(NODE)
    output = edge.run_through_upgrades([program("node"), str(script), f"http://{edge.web}", "200"], UPGRADES)
    assert output == "2000 streams, 0 bad\n"


def test_curl_hears_an_answer_that_comes_before_its_upload_ends(
    stage: Stage, upstreams: Upstreams, tmp_path: Path
) -> None:
    """curl 7.88 would know nothing of one that came in the same read as the end of its stream."""
    edge = speaking(stage, upstreams)
    body = tmp_path / "body"
    body.write_bytes(bytes(5_000_000))
    upload = [program("curl"), "-sS", "--http2-prior-knowledge", "-X", "POST", "-T", str(body), "-w", "%{http_code}"]
    upload += ["-o", "/dev/null", f"http://{edge.web}/sink"]
    edge.instance.config["listeners"][0]["max_body"] = "1MB"
    edge.instance.write_config()
    assert edge.instance.upgrade().exit_code == 0
    done = subprocess.run(upload, capture_output=True, text=True, timeout=20, check=False)
    assert done.stdout == "413", done.stderr
